"""One line for every exchange, whatever came of it, and nothing in it that is nobody's business."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway import Exchange, Headers, LineWriter, record
from gateway.summary import SHOWN_PATH_BYTES_MAX
from gateway.testing import (
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    StartFailed,
    Visit,
    chunk,
    head,
    running_gateway,
    sized,
)
from plugins.access_log import Config, Plugin

ANSWER = b'{"id":"secret-answer"}'
KNOW = """
from gateway import hookimpl

class Plugin:
    reads = "json"

    def __init__(self, config): pass

    @hookimpl
    async def authenticate(self, exchange):
        exchange.known().key_id = "key-7"
"""


def upstreams_word(visit: Visit) -> None:
    visit.read()
    if visit.request.target.endswith(b"/cut"):
        visit.send(head(200, (b"Transfer-Encoding", b"chunked")) + chunk(b"12345"))
        visit.reset()
    elif visit.request.target.endswith(b"/hang"):
        visit.wait_gone()
    elif visit.request.target.endswith(b"/wrong"):
        visit.send(sized(b"{}", status=429))
    else:
        visit.pause(0.02)
        visit.send(sized(ANSWER, (b"X-Theirs", b"secret-field")))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    know = tmp_path_factory.mktemp("plugins") / "know.py"
    know.write_text(KNOW)
    with ScriptedUpstream(upstreams_word) as upstream:
        config = {
            "providers": {
                "openai": upstream.provider(api_key="env:KEY"),
                "nowhere": {"base_url": "http://127.0.0.1:1"},
            },
            "gateways": {"few": {"plugins": {"access_log": {"one_in": 3}}}},
        }
        with running_gateway(
            config, plugins=["credentials", know, "access_log"], env={"KEY": "sk-operators-key"}
        ) as made:
            yield made


def lines(gateway: RunningGateway, path: str) -> list[dict[str, Any]]:
    return [line for line in gateway.log if line.get("path") == path]


def line_of(gateway: RunningGateway, path: str) -> dict[str, Any]:
    """Wait for the one line of an exchange with that path."""
    patient_until = time.monotonic() + 5
    while not lines(gateway, path) and time.monotonic() < patient_until:
        time.sleep(0.02)
    (found,) = lines(gateway, path)
    return found


def ask(gateway: RunningGateway, target: bytes, *fields: tuple[bytes, bytes]) -> None:
    with RawCaller(gateway.port) as caller:
        body = b'{"model":"gpt-x","messages":["secret-question"]}'
        caller.request(b"POST", target, (b"Content-Type", b"application/json"), *fields, body=body)
        caller.answer()


def test_a_line_tells_what_was_asked_how_it_ended_and_how_long_it_took(gateway):
    before = datetime.now(UTC).timestamp()
    ask(gateway, b"/openai/v1/chat/completions")
    found = line_of(gateway, "/openai/v1/chat/completions")
    after = datetime.now(UTC).timestamp()
    at = datetime.fromisoformat(found.pop("timestamp")).timestamp()
    assert before - 0.002 <= at <= after
    assert len(found.pop("id")) == 36
    assert found.pop("peer").startswith("127.0.0.1:")
    assert found.pop("upstream_ms") >= 20
    assert found.pop("connect_ms") > 0
    assert found.pop("duration_ms") >= found.pop("head_ms") >= 20
    assert found == {
        "level": "info",
        "event": "exchange",
        "method": "POST",
        "path": "/openai/v1/chat/completions",
        "gateway": "default",
        "provider": "openai",
        "model": "gpt-x",
        "status": 200,
        "outcome": "complete",
        "attempts": 1,
        "key_id": "key-7",
        "bytes_received": 48,
        "bytes_sent": len(ANSWER),
    }


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/nobody/x", {"status": 404, "outcome": "refused", "error": "unknown_provider"}),
        (b"/nowhere/x", {"status": 502, "error": "upstream_unreachable", "provider": "nowhere"}),
        (b"/openai/wrong", {"status": 429, "provider": "openai", "attempts": 1}),
        (b"/openai/cut", {"status": 200, "outcome": "truncated", "bytes_sent": 5}),
    ],
)
def test_an_exchange_that_did_not_end_well_has_its_line_too(gateway, target, expected):
    ask(gateway, target)
    found = line_of(gateway, target.decode())
    assert {key: found.get(key) for key in expected} == expected


def test_a_caller_that_left_has_its_line_too(gateway):
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", b"/openai/hang")
        time.sleep(0.1)
    found = line_of(gateway, "/openai/hang")
    assert found["outcome"] == "client_abort"
    assert "status" not in found


def test_no_query_no_field_no_body_and_no_key_is_in_any_line(gateway):
    ask(
        gateway,
        b"/openai/v1/secrets?key=secret-query",
        (b"X-Mine", b"secret-field"),
        (b"Cookie", b"secret-cookie"),
    )
    ask(gateway, b"/openai/v1/sk-operators-key")
    line_of(gateway, "/openai/v1/secrets")
    line_of(gateway, "/openai/v1/***")
    assert "secret-" not in gateway.stderr
    assert "sk-operators-key" not in gateway.stderr


def test_where_few_lines_are_wanted_only_the_good_ends_are_thinned_out(gateway):
    for _ in range(6):
        ask(gateway, b"/openai/v1/few", (b"weir-gateway", b"few"))
    for _ in range(4):
        ask(gateway, b"/nobody/few", (b"weir-gateway", b"few"))
    ask(gateway, b"/openai/v1/last")
    line_of(gateway, "/openai/v1/last")
    assert len(lines(gateway, "/openai/v1/few")) == 2
    assert len(lines(gateway, "/nobody/few")) == 4


def test_lines_go_to_a_file_and_are_all_there_when_the_gateway_has_stopped(tmp_path):
    path = tmp_path / "access.log"
    config = {"plugins": {"access_log": {"path": str(path)}}}
    with running_gateway(config, plugins=["access_log"]) as gateway:
        for number in range(20):
            ask(gateway, b"/nobody/%d" % number)
        assert gateway.stop() == 0
        assert lines(gateway, "/nobody/0") == []
    found = [orjson.loads(text)["path"] for text in path.read_bytes().splitlines()]
    assert found == [f"/nobody/{number}" for number in range(20)]


def test_a_file_that_cannot_be_written_stops_the_start(tmp_path):
    config = {"plugins": {"access_log": {"path": str(tmp_path / "no" / "such")}}}
    with pytest.raises(StartFailed) as caught, running_gateway(config, plugins=["access_log"]):
        pass
    assert 'plugin "access_log": path' in caught.value.stderr


# -- the line itself -------------------------------------------------------------------------------


def made(target: bytes) -> Exchange:
    exchange = Exchange(b"GET", target, "1.1", Headers(), "unix")
    exchange.ended_ns = exchange.started_ns + 1_234_567
    return exchange


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a?b", "/a"),
        (b"/\xc3\xa4/\xff", "/\u00e4/\\xff"),
        (b'/a"b\\c', '/a"b\\c'),
        (b"/" + b"x" * 5000, "/" + "x" * (SHOWN_PATH_BYTES_MAX - 1)),
    ],
)
def test_any_path_makes_one_line(target, path):
    rendered = record(made(target), "exchange")
    assert b"\n" not in rendered
    assert orjson.loads(rendered)["path"] == path


def test_durations_are_milliseconds_and_what_is_unknown_is_left_out():
    found = orjson.loads(record(made(b"/x"), "exchange"))
    assert found["duration_ms"] == 1.235
    assert not found.keys() & {"head_ms", "connect_ms", "upstream_ms", "status", "model", "key_id"}


def test_where_nobody_takes_the_lines_they_are_dropped_and_counted(tmp_path: Path):
    path = tmp_path / "log"
    writer = LineWriter(path, queue_max=10)
    for _ in range(50):
        writer.put(record(made(b"/x"), "exchange"))
    assert writer.close()
    written = [orjson.loads(text) for text in path.read_bytes().splitlines()]
    exchanges = [one for one in written if one["event"] == "exchange"]
    dropped = [one["count"] for one in written if one["event"] == "log_lines_dropped"]
    assert len(exchanges) + sum(dropped) == 50
    assert dropped


def test_outside_its_lifespan_a_plugin_writes_nothing():
    exchange = made(b"/x")
    Plugin(Config()).account(exchange)
    assert exchange.notes == {}


def test_its_check_tells_of_a_path_that_cannot_be_written_and_makes_no_file(tmp_path: Path):
    def check(path: Path | str) -> list[str]:
        config = Config(path=str(path))
        return list(Plugin(config).check(config, tmp_path))

    assert check("") == check(tmp_path / "log") == []
    assert not (tmp_path / "log").exists()
    assert check(tmp_path / "none" / "log") == [
        f"path {tmp_path}/none/log: cannot be written; its folder must be there"
    ]
