"""The ledger as its users see it: rows, sums, commands, and what stops its start."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway import GatewayError, OwnFault
from gateway.cli import main
from gateway.config import Config as GatewayConfig
from gateway.convert import ConfigErrors
from gateway.plugins import load
from gateway.testing import (
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    StartFailed,
    Visit,
    answers,
    chunk,
    exchange,
    head,
    running_gateway,
    sized,
    streams,
)
from gateway.testing.exchanges import attempt_of
from plugins.ledger import Config, Plugin
from plugins.ledger.journal import Journal
from tests.plugins.ledger.entries import id_of, opening

ROOT = Path(__file__).resolve().parents[2]
USAGE = {"prompt_tokens": 10, "completion_tokens": 5}
CHAT = json.dumps({"id": "c", "model": "m-1", "choices": [], "usage": USAGE}).encode()
ENABLED = ["metadata", "usage", "ledger"]


def ask(gateway: RunningGateway, team: str, model: str = "m") -> int:
    fields = [
        (b"Content-Type", b"application/json"),
        (b"weir-metadata", json.dumps({"team": team}).encode()),
    ]
    with RawCaller(gateway.port) as caller:
        body = json.dumps({"model": model}).encode()
        caller.request(b"POST", b"/openai/v1/chat/completions", *fields, body=body)
        answer = caller.answer()
    assert answer.is_complete
    return answer.status


def weir(gateway: RunningGateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *arguments, "--config", str(gateway.config_file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def api(gateway: RunningGateway, query: str) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(f"{gateway.admin_url}/api/usage{query}")
    request.add_header("Authorization", f"Bearer {gateway.admin_token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status), json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def wait_for_requests(gateway: RunningGateway, count: int) -> None:
    """Wait until the store has so many."""
    rows = []
    for _ in range(200):
        rows = api(gateway, "")[1]["rows"]
        if rows and rows[0]["requests"] == count:
            return
        time.sleep(0.05)
    raise AssertionError(f"no {count} requests: {rows}")


@pytest.fixture(scope="module")
def used() -> Iterator[RunningGateway]:
    """Give a gateway that was asked a few times, and is still there."""
    with (
        ScriptedUpstream(answers(CHAT)) as upstream,
        running_gateway({"providers": {"openai": upstream.provider()}}, plugins=ENABLED) as gateway,
    ):
        for model in ("m", "m", "n"):
            assert ask(gateway, "a", model) == 200
        upstream.script = answers(b'{"error":{"message":"no"}}', status=429)
        assert ask(gateway, "a") == 429
        wait_for_requests(gateway, 4)
        yield gateway


def test_the_admin_api_gives_sums_by_what_is_asked(used):
    status, found = api(used, "?by=model,outcome&step=day")
    assert status == 200
    rows = {(row["model"], row["outcome"]): row for row in found["rows"]}
    assert rows.keys() == {("m", "complete"), ("n", "complete"), ("m", "provider_error")}
    assert rows["m", "complete"]["requests"] == 2
    assert rows["m", "complete"]["fresh_input"] == 20
    assert rows["m", "complete"]["time"].endswith("T00:00:00Z")
    assert rows["m", "provider_error"]["output_text"] == 0
    assert api(used, "?since=1h")[1]["rows"][0]["requests"] == 4
    assert api(used, "?until=2020-01-01")[1]["rows"] == []


def test_the_admin_api_says_what_cannot_be_asked(used):
    status, found = api(used, "?by=secrets")
    assert status == 400
    assert "secrets" in found["error"]


def test_weir_usage_is_a_table_or_json(used):
    text = weir(used, "usage", "--by", "model", "--since", "7d")
    assert text.returncode == 0, text.stderr
    head, *lines = text.stdout.splitlines()
    assert head.split()[:3] == ["model", "requests", "attempts"]
    assert {tuple(line.split()[:2]) for line in lines} == {("m", "3"), ("n", "1")}
    rows = json.loads(weir(used, "usage", "--by", "model", "--json").stdout)
    assert {row["model"]: row["requests"] for row in rows} == {"m": 3, "n": 1}
    assert weir(used, "usage", "--by", "nothing").returncode == 2


def test_weir_ledger_export_writes_each_row_as_a_line(used):
    done = weir(used, "ledger", "export")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["kind"] for row in rows] == ["exchange", "attempt"] * 4
    first, its_attempt = rows[:2]
    for row in (first, its_attempt):
        assert (row["fresh_input"], row["output_text"], row["cache_read"]) == (10, 5, None)
        assert (row["provider"], row["outcome"], row["estimated"]) == ("openai", "complete", False)
        assert row["metadata"] == {"team": "a"}
    assert its_attempt["answered_model"] == "m-1"
    assert rows[-1]["fresh_input"] is None
    some = weir(used, "ledger", "export", "--kind", "attempt", "--since", "1h").stdout
    assert {json.loads(line)["kind"] for line in some.splitlines()} == {"attempt"}
    assert weir(used, "ledger", "export", "--until", "2020-01-01").stdout == ""
    assert weir(used, "ledger", "export", "--since", "soon").returncode == 2


def test_weir_ledger_verify_finds_no_difference_and_one_that_is_there(used):
    done = weir(used, "ledger", "verify")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "no difference"), done.stderr
    aside = used.folder / "state" / "journal" / "x-000000.damaged"
    aside.write_bytes(b"?")
    try:
        done = weir(used, "ledger", "verify", "--json")
    finally:
        aside.unlink()
    assert done.returncode == 1
    assert json.loads(done.stdout)["differences"] == [
        "x-000000.damaged: holds what could not be read or stored"
    ]


def asked_then_polled(visit: Visit) -> None:
    """A provider that goes on when its reader has left, and says its count to who asks later."""
    visit.read()
    whole = {"id": "resp_1", "object": "response", "model": "m-1", "output": []}
    if visit.request.method == b"GET":
        usage = {"input_tokens": 7, "output_tokens": 900, "total_tokens": 907}
        answer = {**whole, "status": "completed", "usage": usage}
        visit.send(sized(json.dumps(answer).encode(), (b"Content-Type", b"application/json")))
        return
    created = {"type": "response.created", "response": {**whole, "status": "in_progress"}}
    delta = {"type": "response.output_text.delta", "item_id": "i", "delta": "word " * 20}
    fields = ((b"Content-Type", b"text/event-stream"), (b"Transfer-Encoding", b"chunked"))
    lines = (b"data: %b\n\n" % json.dumps(event).encode() for event in (created, delta))
    visit.send(head(200, *fields) + b"".join(map(chunk, lines)))
    visit.wait_gone()


def test_a_stream_that_was_left_is_billed_what_its_provider_says_later():
    model = {"model": "m*", "input": 1, "output": 2}
    tables = {"cost": {"bundled": False, "models": [model]}}
    with (
        ScriptedUpstream(asked_then_polled) as upstream,
        running_gateway(
            {"providers": {"openai": upstream.provider()}, "plugins": tables},
            plugins=["usage", "cost", "ledger"],
        ) as gateway,
    ):
        body = json.dumps({"model": "m", "stream": True, "input": "x" * 400}).encode()
        with RawCaller(gateway.port) as caller:
            fields = (b"Content-Type", b"application/json")
            caller.request(b"POST", b"/openai/v1/responses", fields, body=body)
            caller.answer_head()
            assert any(b"word" in piece for _, piece in caller.wire.chunks())
        wait_for_requests(gateway, 1)
        for _ in range(2):
            with RawCaller(gateway.port) as caller:
                caller.request(b"GET", b"/openai/v1/responses/resp_1")
                assert caller.answer().is_complete
        wait_for_requests(gateway, 3)
        (sums,) = api(gateway, "")[1]["rows"]
        exported = weir(gateway, "ledger", "export", "--kind", "attempt").stdout
        verified = weir(gateway, "ledger", "verify")
    rows = [json.loads(line) for line in exported.splitlines()]
    guess, real, again = rows
    assert (guess["estimated"], guess["output_text"]) == (True, 25)
    assert (real["corrects"], real["estimated"]) == (guess["id"], False)
    assert (again["duplicate_of"], again["cost_nanousd"]) == (real["id"], None)
    assert (sums["fresh_input"], sums["output_text"]) == (7, 900)
    assert sums["cost_nanousd"] == 7 * 1000 + 900 * 2000
    assert verified.stdout.splitlines()[-1] == "no difference", verified.stdout


def test_what_a_dead_process_has_left_is_priced_where_prices_are_known(tmp_path):
    dead = Journal(tmp_path / "journal", bytes_max=1 << 30)
    for n, model in enumerate(("m", "unknown")):
        dead.open(id_of(n), opening(id_of(n), model=model, bytes=400))
    dead.current.close()  # its lock goes with it
    tables = {"cost": {"bundled": False, "models": [{"model": "m", "input": 1, "output": 2}]}}
    config = {"plugins": tables, "state_dir": str(tmp_path)}
    with running_gateway(config, plugins=["usage", "cost", "ledger"]) as gateway:
        gateway.wait_for_log("ledger_recovered")
        exported = weir(gateway, "ledger", "export").stdout
        (sums,) = json.loads(weir(gateway, "usage", "--by", "outcome", "--json").stdout)
        assert weir(gateway, "ledger", "verify").returncode == 0
    rows = [json.loads(row) for row in exported.splitlines()]
    costs = [(row["outcome"], row["cost_nanousd"], row["prices"]) for row in rows]
    assert costs == [("orphaned", 100_000, "config")] * 2 + [("orphaned", None, None)] * 2
    assert (sums["cost_nanousd"], sums["unpriced"]) == (100_000, 1)


def test_a_command_without_a_ledger_says_so(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(f'state_dir = "{tmp_path / "state"}"\n')
    command = [sys.executable, "-m", "gateway", "ledger", "verify", "--config", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert "no ledger" in done.stderr


@pytest.mark.parametrize(
    ("enabled", "right"),
    [
        (("ledger", "usage"), '["usage", "ledger"]'),
        (("usage", "ledger", "credentials"), '["usage", "credentials", "ledger"]'),
    ],
)
def test_a_list_in_an_order_that_would_lose_something_does_not_start(enabled, right):
    with pytest.raises(ConfigErrors) as fault:
        load(GatewayConfig(enabled=enabled))
    assert f"the right order is {right}" in str(fault.value)


@pytest.mark.parametrize("store", ["mysql://me:secret@there/x", "postgres"])
def test_an_address_that_names_no_store_stops_the_start(store):
    with pytest.raises(StartFailed) as fault:
        with running_gateway({"plugins": {"ledger": {"store": store}}}, plugins=["ledger"]):
            pass
    assert fault.value.code == 78
    assert "wanted" in fault.value.stderr
    assert "secret" not in fault.value.stderr


def test_where_there_is_no_journal_nothing_goes_up():
    made = exchange(body=b"{}")
    plugin = Plugin(Config())
    with pytest.raises(OwnFault) as fault:
        plugin.send(made, attempt_of(made))
    assert isinstance(fault.value, GatewayError)
    assert (fault.value.status, fault.value.code) == (503, "ledger_unavailable")
    plugin.settle(made)  # at the very end, when it is gone: nothing to do


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_stream_is_one_row_whatever_it_has_to_survive(durability):
    events = [b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n', b"data: [DONE]\n\n"]
    settings = {"ledger": {"durability": durability}}
    with (
        ScriptedUpstream(streams(events)) as upstream,
        running_gateway(
            {"providers": {"openai": upstream.provider()}, "plugins": settings}, plugins=ENABLED
        ) as gateway,
    ):
        for _ in range(3):
            assert ask(gateway, "a") == 200
        assert gateway.stop() == 0
        done = weir(gateway, "ledger", "export", "--kind", "exchange")
        assert gateway.crashes == []
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["outcome"] for row in rows] == ["complete"] * 3
    sent = len(b"".join(events))
    assert [row["bytes_sent"] for row in rows] == [sent] * 3
    received = len(upstream.requests[0].body)
    assert received > 0
    assert [row["bytes_received"] for row in rows] == [received] * 3


def test_weir_check_looks_at_the_journal_and_the_store(tmp_path):
    """And makes neither."""
    plain = tmp_path / "file"
    plain.write_text("")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        nobody = f"postgresql://weir:sesame@127.0.0.1:{taken.getsockname()[1]}/weir"
        wrong = [
            ({}, plain, f"{plain}: the journal cannot be made there"),
            ({}, plain / "below", f"{plain}: the journal cannot be made there"),
            ({"store": nobody}, tmp_path / "state", "store: postgresql: "),
            ({"store": "mysql://weir:sesame@host/weir"}, tmp_path / "state", 'wanted "sqlite"'),
        ]
        for table, state, text in wrong:
            result = check(tmp_path, table, state)
            assert result.exit_code == 78, result.output
            assert text in result.output
            assert "sesame" not in result.output
    assert check(tmp_path, {}, tmp_path / "state").exit_code == 0
    assert not (tmp_path / "state").exists()


def check(folder: Path, table: dict[str, Any], state: Path) -> Result:
    path = folder / "weir.toml"
    enabled = 'enabled = ["usage", "ledger"]'
    keys = "".join(f"{name} = {json.dumps(value)}\n" for name, value in table.items())
    path.write_text(f"state_dir = {json.dumps(str(state))}\n{enabled}\n[plugins.ledger]\n{keys}")
    return CliRunner().invoke(main, ["check", "--config", str(path)])
