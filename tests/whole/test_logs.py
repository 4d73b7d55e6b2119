"""Logs as their users see them: calls through a real gateway, found, judged, followed, exported and
deleted through the admin API and the command line, from both stores.
"""

from __future__ import annotations

import asyncio
import csv
import io
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.testing import RawCaller, RunningGateway, ScriptedUpstream, running_gateway
from gateway.testing.scripts import answers, streams
from plugins.logs.stores import opened
from tests.plugins.logs.made import body, id_of, made

ROOT = Path(__file__).resolve().parents[2]
ENABLED = ["request_id", "metadata", "usage", "logs"]
PATIENCE_S = 15.0
USAGE = {"prompt_tokens": 10, "completion_tokens": 5}
CHAT = orjson.dumps(
    {
        "model": "m-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "quite so"}}],
        "usage": USAGE,
    }
)
# A word that lies in two events.
PIECES = [
    b'data: {"choices":[{"index":0,"delta":{"content":"wear head"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"phones"}}]}\n\n',
    b"data: [DONE]\n\n",
]
# What an export may take of a gateway's memory, whatever is exported.
EXPORT_BYTES_MAX = 10_000_000


class House:
    """A gateway with its upstream and its store, which each test leaves without rows."""

    def __init__(self, gateway: RunningGateway, upstream: ScriptedUpstream, store: str) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.store = store


@contextmanager
def housed(store: str, workers: int = 1) -> Iterator[House]:
    settings = {"store": store, "payload": True, "keep": "3650d"}
    with ScriptedUpstream(answers(CHAT)) as upstream:
        tables = {
            "providers": {"openai": upstream.provider()},
            "plugins": {"logs": settings},
            "server": {"workers": workers},
        }
        with running_gateway(tables, plugins=ENABLED) as gateway:
            yield House(gateway, upstream, store)
            assert gateway.stop() == 0
            assert gateway.crashes == []


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    store = request.param
    if store == "postgres":
        store = request.getfixturevalue("postgres").database()
    with housed(store) as found:
        yield found


def ask(gateway: RunningGateway, text: str, team: str = "a", **members: Any) -> str:
    """Make a call, and give its id as the caller sees it."""
    sent = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **members})
    fields = [
        (b"Content-Type", b"application/json"),
        (b"weir-metadata", orjson.dumps({"team": team})),
    ]
    with RawCaller(gateway.port) as caller:
        caller.request(b"POST", b"/openai/v1/chat/completions", *fields, body=sent)
        answer = caller.answer()
    id_ = answer.get(b"weir-request-id")
    assert id_ is not None
    return id_.decode()


def opened_url(
    gateway: RunningGateway, path: str, method: str = "GET", sent: bytes | None = None
) -> Any:
    request = urllib.request.Request(
        f"{gateway.admin_url}/api/logs{path}", data=sent, method=method
    )
    request.add_header("Authorization", f"Bearer {gateway.admin_token}")
    return urllib.request.urlopen(request, timeout=PATIENCE_S)


def api(gateway: RunningGateway, path: str = "", method: str = "GET", sent: Any = None) -> Any:
    with opened_url(gateway, path, method, None if sent is None else orjson.dumps(sent)) as answer:
        return orjson.loads(answer.read())


def ids(found: Any) -> list[str]:
    return [row["id"] for row in found["rows"]]


def wait_for(gateway: RunningGateway, count: int) -> None:
    """Wait until so many rows are there."""
    patient_until = time.monotonic() + PATIENCE_S
    while len(api(gateway)["rows"]) < count:
        assert time.monotonic() < patient_until, api(gateway)
        time.sleep(0.05)


def command(gateway: RunningGateway, *arguments: str) -> list[str]:
    return [
        *(sys.executable, "-m", "gateway", "logs", *arguments),
        *("--config", str(gateway.config_file)),
    ]


def weir(gateway: RunningGateway, *arguments: str) -> bytes:
    done = subprocess.run(command(gateway, *arguments), cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_was_said_is_found_judged_shown_and_deleted(house):
    gateway, upstream = house.gateway, house.upstream
    first = ask(gateway, "where is my umbrella")
    second = ask(gateway, "and my hat", team="b")
    upstream.script = streams(PIECES)
    third = ask(gateway, "what do I do", stream=True)
    upstream.script = answers(b'{"error":{"message":"no"}}', status=429)
    fourth = ask(gateway, "and now, umbrella?", team="b")
    wait_for(gateway, 4)

    assert ids(api(gateway)) == [fourth, third, second, first]
    assert ids(api(gateway, "?search=umbrella")) == [fourth, first]
    assert ids(api(gateway, "?search=umbrella&metadata.team=b&status=4xx")) == [fourth]
    assert ids(api(gateway, "?search=headphones")) == [third]
    assert ids(api(gateway, "?min_output_text=5&streaming=false")) == [second, first]

    row = api(gateway, f"/{first}", "PATCH", {"feedback": 1, "score": 0.5})
    assert (row["feedback"], row["score"], row["metadata"]) == (1, 0.5, {"team": "a"})
    assert ids(api(gateway, "?feedback=1")) == [first]
    with opened_url(gateway, f"/{first}/request") as answer:
        said = orjson.loads(answer.read())["messages"]
        assert said == [{"role": "user", "content": "where is my umbrella"}]
    with opened_url(gateway, f"/{third}/response") as answer:
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.read() == b"".join(PIECES)

    lines = weir(gateway, "search", "umbrella").decode().splitlines()
    assert [line.split()[-1] for line in lines[1:]] == [fourth, first]

    assert api(gateway, "?metadata.team=b", "DELETE") == {"deleted": 2}
    assert ids(api(gateway)) == [third, first]
    assert api(gateway, f"/{first}", "DELETE") == {"deleted": 1}
    with pytest.raises(urllib.error.HTTPError) as gone:
        api(gateway, f"/{first}")
    with gone.value:
        assert gone.value.code == 404
    assert api(gateway, "?all=true", "DELETE") == {"deleted": 1}


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command beside the test, not for longer than that."""
    # Tests in the background of a shell ignore Ctrl-C, and what they start would too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE)
    signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield process
        finally:
            process.kill()


class Followed:
    """Lines that come, with a deadline for each."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        os.set_blocking(descriptor, False)

    def line(self) -> bytes:
        patient_until = time.monotonic() + PATIENCE_S
        while True:
            line, end, rest = self._rest.partition(b"\n")
            if end:
                self._rest = rest
                return line
            assert time.monotonic() < patient_until, self._rest
            try:
                piece = os.read(self._descriptor, 65_536)
            except BlockingIOError:
                time.sleep(0.02)
            else:
                assert piece, "it ended"
                self._rest += piece


def test_rows_of_all_workers_are_followed_until_one_leaves_or_the_gateway_does():
    with housed("sqlite", workers=2) as house:
        gateway = house.gateway
        earlier = ask(gateway, "before")
        wait_for(gateway, 1)
        with (
            opened_url(gateway, "/tail?metadata.team=b") as events,
            running(*command(gateway, "tail", "--json")) as tail,
        ):
            assert tail.stdout is not None
            shown = Followed(tail.stdout.fileno())
            assert orjson.loads(shown.line())["id"] == earlier
            made_now = [ask(gateway, "now", team="ab"[n % 2]) for n in range(20)]
            lines = [shown.line() for _ in made_now]
            assert sorted(orjson.loads(line)["id"] for line in lines) == sorted(made_now)
            tail.send_signal(signal.SIGINT)
            assert tail.wait(PATIENCE_S) == 0

            told = (line for line in events if line.startswith(b"data: "))
            rows = [orjson.loads(next(told)[6:]) for _ in made_now[1::2]]
            assert sorted(row["id"] for row in rows) == sorted(made_now[1::2])
            gateway.stop()
            assert events.read().strip() == b""  # the answer is whole, and did not break off


def test_an_export_of_many_rows_costs_no_memory(house, sizes, capsys):
    gateway, count = house.gateway, sizes.exported_rows
    text = b"so many words of a prompt " * 1_600
    fill(house, count, text)
    before = gateway.memory_bytes()
    with opened_url(gateway, "/export?model=m&bodies=true") as answer:
        for n, line in enumerate(answer):
            row = orjson.loads(line)
            assert (row["id"], row["request"]["text"]) == (id_of(n), text.decode())
        assert n == count - 1
    with opened_url(gateway, "/export?model=m&format=csv&bodies=true") as answer:
        table = csv.DictReader(io.TextIOWrapper(answer, newline=""))
        assert [row["id"] for row in table] == [id_of(n) for n in range(count)]
    with opened_url(gateway, "/export?bodies=true") as answer:
        assert answer.read(1000)  # and one leaves in the middle
    grown = gateway.memory_peak_bytes() - before
    with capsys.disabled():
        print(f"\n{count} rows of {len(text)} bytes: memory grew by {grown / 1e6:.1f} MB")
    assert grown < EXPORT_BYTES_MAX
    assert api(gateway, "?model=m", "DELETE") == {"deleted": count}


def fill(house: House, count: int, text: bytes) -> None:
    """Put rows into the store, beside the gateway."""

    async def add() -> None:
        target = opened(house.store, house.gateway.folder / "state")
        await target.open()
        for start in range(0, count, 100):
            some = range(start, min(start + 100, count))
            await target.add([made(n)._replace(request=body(text, "text/plain")) for n in some])
        await target.close()

    asyncio.run(add())
