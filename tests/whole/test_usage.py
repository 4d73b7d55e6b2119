"""What was used is known however a stream arrives, and costs no memory and no byte."""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.testing import (
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Visit,
    chunk,
    chunked,
    head,
    running_gateway,
)
from tests.gateway.answers import (
    CHAT,
    SSE,
    STREAMS,
    Case,
    chat_chunk,
    gemini_chunk,
    spaced,
    sse,
)
from tests.gateway.frames import ASKING, MASK, TEXT, bye, frame, read_frame, switch
from tests.sizes import Sizes

# Writes down what each exchange used, and in how many slices its answer came.
TELLER = """
import msgspec
import orjson

from gateway import hookimpl

# Spelled out: a compiled class has no __slots__.
FACTS = (
    "fresh_input", "cache_read", "cache_write", "output_text", "output_reasoning", "details",
    "tier", "model", "response_id", "finish_reason", "estimated", "problem", "reported",
)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str = ""


class Slices:
    count = 0

    def __call__(self, data):
        self.count += 1


class Plugin:
    def __init__(self, config):
        self.file = open(config.path, "ab", buffering=0)

    @hookimpl
    def tap(self, exchange, side):
        if side == "upstream":
            slices = exchange.notes["teller"] = Slices()
            return slices

    @hookimpl
    def account(self, exchange):
        usage = exchange.usage
        told = {} if usage is None else {name: getattr(usage, name) for name in FACTS}
        told |= {
            "case": (exchange.headers.get(b"x-case") or b"").decode(),
            "slices": getattr(exchange.notes.get("teller"), "count", 0),
            "outcome": exchange.outcome,
            "asked": exchange.model,
        }
        self.file.write(orjson.dumps(told) + b"\\n")
"""
PROVIDERS = sorted({case.provider for case in STREAMS})
BY_NAME = {case.name: case for case in STREAMS}
CHUNKED = (b"Transfer-Encoding", b"chunked")
CALLERS = 4
LAST_CHUNK = chunk(b"")
COUNTS = ("fresh_input", "cache_read", "cache_write", "output_text", "output_reasoning")


class Watched:
    """A gateway that notes usage, an upstream before it, and what was noted."""

    def __init__(self, gateway: RunningGateway, upstream: ScriptedUpstream, told: Path) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self._told = told

    def follows(self, script: Callable[[Visit], None]) -> None:
        """Let the upstream do something else, and forget what was noted."""
        self.upstream.script = script
        self.upstream.forget()
        self._told.write_bytes(b"")

    def told(self, count: int) -> list[dict[str, Any]]:
        """The accounts of so many exchanges; they are written behind the answers' ends."""
        patient_until = time.monotonic() + 10
        while len(lines := self._told.read_bytes().splitlines()) < count:
            assert time.monotonic() < patient_until
            time.sleep(0.02)
        return [orjson.loads(line) for line in lines]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("teller")
    (folder / "teller.py").write_text(TELLER)
    told = folder / "told.jsonl"
    with ScriptedUpstream(lambda visit: None, keeps_bodies=False) as upstream:
        config = {
            "providers": {name: upstream.provider() for name in PROVIDERS},
            "enabled": ["usage"],
            "plugins": {"teller": {"path": str(told)}},
        }
        with running_gateway(config, plugins=[folder / "teller.py"]) as gateway:
            yield Watched(gateway, upstream, told)
            assert not gateway.crashes


def fragments(visit: Visit) -> None:
    """Answer with a case's body, packed or not, its chunks and its packets cut anywhere."""
    visit.read()
    name, number = (visit.request.get(b"x-case") or b"").decode().split(":")
    choose, case = random.Random(f"{name}{number}"), BY_NAME[name]
    fields = [(b"Content-Type", case.kind), CHUNKED]
    body = case.body
    if choose.random() < 0.3:
        body = gzip.compress(body)
        fields.append((b"Content-Encoding", b"gzip"))
    elif b"\r" not in body and case.kind == SSE and choose.random() < 0.3:
        body = body.replace(b"\n", b"\r\n")
    wire = head(200, *fields) + chunked(*pieces(body, choose, choose.choice((1, 5, 60))))
    for piece in pieces(wire, choose, choose.choice((2, 8, 20))):
        visit.send(piece)
        time.sleep(0.0002)


def pieces(data: bytes, choose: random.Random, count: int) -> list[bytes]:
    cuts = sorted({choose.randrange(1, len(data)) for _ in range(count)})
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def ask(caller: RawCaller, case: Case, number: int) -> bytes:
    caller.request(
        b"POST",
        b"/%b/%b" % (case.provider.encode(), case.path),
        (b"Content-Type", b"application/json"),
        (b"X-Case", b"%b:%d" % (case.name.encode(), number)),
        body=orjson.dumps(case.request),
    )
    answer = caller.answer(to=b"POST")
    assert answer.is_complete
    packed = answer.get(b"content-encoding") == b"gzip"
    return gzip.decompress(answer.body) if packed else answer.body


@pytest.mark.timeout(3600)
def test_usage_is_right_however_a_stream_is_cut(watched: Watched, sizes: Sizes) -> None:
    watched.follows(fragments)

    def calls(share: int) -> None:
        with RawCaller(watched.gateway.port, timeout_s=60) as caller:
            for number in range(share, sizes.fragmentations, CALLERS):
                for case in STREAMS:
                    body = ask(caller, case, number)
                    assert body in (case.body, case.body.replace(b"\n", b"\r\n"))

    with ThreadPoolExecutor(CALLERS) as callers:
        for done in [callers.submit(calls, share) for share in range(CALLERS)]:
            done.result()

    count = sizes.fragmentations * len(STREAMS)
    told = watched.told(count)
    assert len(told) == count
    for line in told:
        case = BY_NAME[line["case"].partition(":")[0]]
        assert tuple(line[name] for name in COUNTS) == case.counts, line
        assert {name: line[name] for name in case.rest} == case.rest, line
        assert (line["outcome"], line["estimated"], line["problem"]) == ("complete", False, None)
    assert sum(line["slices"] for line in told) > 2 * count  # they did come in pieces


LONG = {
    # Nothing to be read in it, counts in each event, and something like counts in each.
    "plain": ("openai", CHAT, sse(*[chat_chunk({"content": "word " * 20})] * 400)),
    "counted": (
        "google-ai-studio",
        b"v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        b"".join(b"data: %b\r\n\r\n" % spaced(gemini_chunk("word " * 20, n)) for n in range(200)),
    ),
    "likely": ("openai", CHAT, sse(*[chat_chunk({"content": '"usage", "finish_reason"'})] * 400)),
}  # fmt: skip


ENDS = {
    form: next(case for case in STREAMS if case.provider == provider and case.path == path)
    for form, (provider, path, _) in LONG.items()
}


@pytest.mark.timeout(600)
def test_a_long_stream_costs_no_memory(watched: Watched, sizes: Sizes) -> None:
    def script(visit: Visit) -> None:
        visit.read()
        form, count = (visit.request.get(b"x-case") or b"").decode().split(":")
        visit.send(head(200, (b"Content-Type", SSE), CHUNKED))
        for _ in range(int(count)):
            visit.send(chunk(LONG[form][2]))
        visit.send(chunk(ENDS[form].body), LAST_CHUNK)

    watched.follows(script)
    for number, (form, (provider, path, piece)) in enumerate(LONG.items()):
        call(watched, form, provider, path, 20)
        before = watched.gateway.memory_peak_bytes()
        passed = call(watched, form, provider, path, sizes.watched_bytes // len(piece))

        assert passed > sizes.watched_bytes * 0.9
        assert watched.gateway.memory_peak_bytes() - before < 8_000_000
        line = watched.told(2 * number + 2)[-1]
        assert tuple(line[name] for name in COUNTS) == ENDS[form].counts


def call(watched: Watched, form: str, provider: str, path: bytes, count: int) -> int:
    """Ask for a stream of so many pieces, and give how many bytes of it came."""
    with RawCaller(watched.gateway.port, timeout_s=120) as caller:
        caller.request(
            b"POST",
            b"/%b/%b" % (provider.encode(), path),
            (b"Content-Type", b"application/json"),
            (b"X-Case", b"%b:%d" % (form.encode(), count)),
            body=b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
        )
        passed, end = 0, b""
        while not end.endswith(b"\r\n" + LAST_CHUNK):
            data = caller.sock.recv(1 << 20)
            assert data
            passed += len(data)
            end = (end + data)[-16:]
        return passed


def test_the_answers_of_a_realtime_session_add_up(watched: Watched) -> None:
    counts = {
        "input_tokens": 100,
        "output_tokens": 30,
        "total_tokens": 130,
        "input_token_details": {"cached_tokens": 64},
    }
    answer = {"object": "realtime.response", "id": "r", "status": "completed", "usage": counts}
    done = {"type": "response.done", "response": answer}
    said = [
        {"type": "session.created", "session": {"id": "s", "model": "gpt-realtime"}},
        *[{"type": "response.output_text.delta"}, done] * 3,
    ]

    def script(visit: Visit) -> None:
        visit.send(switch(visit))
        for message in said:
            visit.send(frame(TEXT, orjson.dumps(message)))
        visit.send(bye())
        visit.wait_gone()

    watched.follows(script)
    with RawCaller(watched.gateway.port) as caller:
        caller.request(b"GET", b"/openai/v1/realtime?model=gpt-realtime", *ASKING)
        assert caller.wire.head().startswith(b"HTTP/1.1 101 ")
        got = [orjson.loads(read_frame(caller.wire)[1]) for _ in said]
        caller.send(bye(mask=MASK))

    (line,) = watched.told(1)
    assert got == said
    assert tuple(line[name] for name in COUNTS) == (108, 192, None, 90, None)
    assert (line["asked"], line["model"]) == ("gpt-realtime", "gpt-realtime")
    assert line["finish_reason"] == "completed"
    assert (line["estimated"], line["reported"]) == (False, False)
