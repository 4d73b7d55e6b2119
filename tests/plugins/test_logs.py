"""Logs as their users see them: rows of what passed, bodies where asked for, and no harm done."""

from __future__ import annotations

import contextlib
import json
import resource
import sqlite3
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.testing import (
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    StartFailed,
    Visit,
    head,
    running_gateway,
)
from tests.postgres_server import postgres_server
from tests.sizes import FULL, SMALL, Sizes

CHAT = json.dumps(
    {"id": "c", "choices": [{"message": {"role": "assistant", "content": "A merry Zanzibar"}}]}
).encode()
ENABLED = ["metadata", "usage", "logs"]
SECRET = "sk-operators-own-key"
CALLERS = "sk-callers-own-key"
MEMORY_BYTES_MAX = 20_000_000
JSON = (b"Content-Type", b"application/json")


def pieces(text: str) -> bytes:
    """A stream of one character in each event."""
    events = [{"choices": [{"index": 0, "delta": {"content": sign}}]} for sign in text]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


def upstreams_word(visit: Visit) -> None:
    visit.read()
    target = visit.request.target
    if b"counted" in target:
        body = pieces("hi")[: -len(b"data: [DONE]\n\n")]
        body += b'data: {"choices":[],"usage":{"prompt_tokens":7}}\n\ndata: [DONE]\n\n'
        kind = b"text/event-stream"
    elif b"stream" in target:
        body = pieces("the word Xylophone and sk-callers-own-key")
        kind = b"text/event-stream"
    elif b"huge" in target:
        length = int(target.rpartition(b"/")[2])
        visit.send(head(200, JSON, (b"Content-Length", b"%d" % length)))
        for _ in range(length // 1_000_000):
            visit.send(b"x" * 1_000_000)
        return
    elif b"echo" in target:
        body, kind = b"not json \x00\xff " + SECRET.encode() + b" end", b"application/octet-stream"
    else:
        body, kind = CHAT, b"application/json; charset=utf-8"
    fields = ((b"Content-Type", kind), (b"Content-Length", b"%d" % len(body)))
    visit.send(head(200, *fields) + body)


def ask(
    gateway: RunningGateway, path: str, *fields: tuple[bytes, bytes], body: bytes = b'{"model":"m"}'
) -> bytes:
    with RawCaller(gateway.port) as caller:
        caller.request(b"POST", f"/openai/v1/{path}".encode(), JSON, *fields, body=body)
        answer = caller.answer()
    assert answer.is_complete
    return answer.body


def api(gateway: RunningGateway, path: str) -> Any:
    request = urllib.request.Request(f"{gateway.admin_url}/api/logs{path}")
    request.add_header("Authorization", f"Bearer {gateway.admin_token}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def rows(gateway: RunningGateway, path: str, count: int = 1) -> list[dict[str, Any]]:
    """Rows of a path, as the file has them, once there are so many."""
    patient_until = time.monotonic() + 20
    while True:
        found = in_file(gateway, path)
        if len(found) >= count or time.monotonic() > patient_until:
            return found
        time.sleep(0.05)


def in_file(gateway: RunningGateway, path: str) -> list[dict[str, Any]]:
    db = sqlite3.connect(gateway.folder / "state" / "logs.db")
    db.row_factory = sqlite3.Row
    text = "SELECT * FROM logs JOIN texts USING (place) JOIN search ON search.rowid = place"
    try:
        found = [dict(row) for row in db.execute(text)]
    except sqlite3.OperationalError:  # not made yet
        return []
    finally:
        db.close()
    return [row for row in found if json.loads(row["entry"])["path"] == f"/openai/v1/{path}"]


def said(stream: bytes) -> str:
    """Put the pieces of a stream together."""
    lines = [line[6:] for line in stream.decode().splitlines() if line.startswith("data: {")]
    return "".join(json.loads(line)["choices"][0]["delta"]["content"] for line in lines)


def anonymous_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("Anonymous")]
    return int(line.split()[1]) * 1024


@contextmanager
def locked(gateway: RunningGateway) -> Iterator[None]:
    """Hold the lock that a writer wants."""
    db = sqlite3.connect(gateway.folder / "state" / "logs.db", isolation_level=None)
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")
    finally:
        db.close()


@pytest.fixture(scope="module")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    return FULL if request.config.getoption("--battery") else SMALL


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    with ScriptedUpstream(upstreams_word) as upstream:
        config = {
            "providers": {"openai": upstream.provider(api_key="env:KEY")},
            "plugins": {
                "logs": {
                    "body_bytes_max": "4KiB",
                    "redact": [{"pattern": r"\b\d(?:[ -]?\d){12,18}\b", "with": "[card]"}],
                }
            },
            "gateways": {
                "kept": {"plugins": {"logs": {"payload": True}}},
                "none": {"plugins": {"logs": {"collect": False, "by_header": False}}},
            },
        }
        env = {"KEY": SECRET}
        with running_gateway(config, plugins=["credentials", *ENABLED], env=env) as made:
            yield made


KEPT = (b"weir-collect-log-payload", b"true")


def test_a_row_has_the_facts_and_no_bodies(gateway):
    ask(gateway, "chat/completions?plain", (b"weir-metadata", b'{"app":"x"}'))
    (row,) = rows(gateway, "chat/completions")
    entry = json.loads(row["entry"])
    assert (entry["provider"], entry["status"], entry["outcome"]) == ("openai", 200, "complete")
    assert entry["metadata"] == {"app": "x"}
    assert (row["request"], row["response"], row["words"]) == (None, None, "")


def test_a_caller_switches_bodies_on(gateway):
    ask(gateway, "kept/chat", KEPT, body=b'{"model":"m","messages":[{"content":"Say Bratislava"}]}')
    (row,) = rows(gateway, "kept/chat")
    assert json.loads(row["request"])["messages"][0]["content"] == "Say Bratislava"
    assert (row["request_type"], row["response_type"]) == ("application/json", "application/json")
    assert row["response"] == CHAT
    assert "say bratislava" in row["words"]
    assert "a merry zanzibar" in row["words"]


def test_a_gateways_own_settings_and_cloudflares_names_count(gateway):
    ask(gateway, "by/gateway", (b"weir-gateway", b"kept"))
    ask(
        gateway, "by/gateway/without", (b"weir-gateway", b"kept"), (b"cf-aig-collect-log", b"FALSE")
    )
    ask(
        gateway,
        "by/strange",
        (b"cf-aig-collect-log", b"maybe"),
        (b"cf-aig-collect-log-payload", b"1"),
    )
    ask(gateway, "by/locked", (b"weir-gateway", b"none"), (b"weir-collect-log", b"true"))
    (row,) = rows(gateway, "by/gateway")
    assert row["response"] == CHAT
    (row,) = rows(gateway, "by/strange")
    assert row["response"] is None
    assert not in_file(gateway, "by/gateway/without")
    assert not in_file(gateway, "by/locked")


def test_a_word_that_lies_in_many_events_is_found(gateway):
    ask(gateway, "stream", KEPT, (b"Authorization", f"Bearer {CALLERS}".encode()))
    (row,) = rows(gateway, "stream")
    assert "the word xylophone" in row["words"]
    assert row["response_type"] == "text/event-stream"
    assert row["response_is_cut"] == 0


def test_what_is_kept_is_what_the_caller_was_sent(gateway):
    body = b'{"model":"m","stream":true}'
    sent = ask(gateway, "counted/chat/completions", KEPT, body=body)
    (row,) = rows(gateway, "counted/chat/completions")
    assert json.loads(row["entry"])["fresh_input"] == 7
    assert b"prompt_tokens" not in sent  # `usage` asked for it, and took it out again
    assert (row["request"], row["response"]) == (body, sent)


def test_secrets_and_what_rules_match_are_nowhere(gateway):
    tokens = "4111 1111 1111 1111 and 4111111111111111"
    escaped = tokens.replace("4", "\\u0034")
    said_by_caller = f"{tokens} {escaped} {CALLERS}"
    body = f'{{"model":"m","key":"{SECRET}","messages":[{{"content":"{said_by_caller}"}}]}}'
    fields = (KEPT, (b"x-api-key", CALLERS.encode()))
    ask(gateway, "echo", *fields, body=body.encode())
    ask(gateway, "stream/secrets", *fields)
    (row,) = rows(gateway, "echo")
    assert row["request"].count(b"[card]") == 4
    assert b"*** end" in row["response"]
    (streamed,) = rows(gateway, "stream/secrets")
    assert "xylophone and" in streamed["words"]
    db = sqlite3.connect(gateway.folder / "state" / "logs.db")
    kept = "\n".join(db.iterdump())
    db.close()
    files = b"".join(path.read_bytes() for path in (gateway.folder / "state").glob("logs.db*"))
    assert said(streamed["response"]) == "the word Xylophone and ***"
    for secret in (SECRET, CALLERS, "4111", "callers"):
        assert secret not in kept
        for kept_bytes in (row["request"], row["response"], streamed["response"], files):
            assert secret.encode() not in kept_bytes


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("nul", b'{"model":"m","a":"\\u0000","b":"x\\u0000y"}'),
        ("raw-nul", b'{"model":"m",\x00}'),
        ("no-utf8", b'{"model":"\xff\xfe\x80"}'),
        ("surrogate", b'{"model":"\\ud800 x"}'),
        ("deep", b'{"a":' * 1000 + b"1" + b"}" * 1000),
        ("long", b'{"model":"m","a":"' + b"z" * 100_000 + b'"}'),
        ("empty", b""),
        ("number", b"1e999"),
    ],
)
def test_any_body_makes_a_row(gateway, name, body):
    ask(gateway, f"strange/{name}", KEPT, body=body)
    (row,) = rows(gateway, f"strange/{name}")
    assert row["request_size"] == (len(body) or None)
    if len(body) > 4096:
        assert row["request"] == body[:4096]
        assert row["request_is_cut"] == 1
    elif body:
        assert row["request"] == body


def test_a_large_stream_costs_what_is_kept_of_it(gateway, sizes):
    large = sizes.watched_bytes
    assert len(ask(gateway, "huge/1000000", KEPT)) == 1_000_000
    rows(gateway, "huge/1000000")
    before = anonymous_bytes(gateway.pid)
    peak = 0
    with RawCaller(gateway.port) as caller:
        caller.request(b"POST", f"/openai/v1/huge/{large}".encode(), JSON, KEPT, body=b"{}")
        wire = caller.wire
        wire.head()
        for n, _ in enumerate(wire.sized(large)):
            if n % 100 == 0:
                peak = max(peak, anonymous_bytes(gateway.pid))
    (row,) = rows(gateway, f"huge/{large}")
    assert (row["response_size"], len(row["response"])) == (large, 4096)
    assert peak - before < MEMORY_BYTES_MAX


def test_a_refusal_of_our_own_has_a_row_and_its_text(gateway):
    ask(gateway, "refused", KEPT, (b"weir-metadata", b"[]"))
    (row,) = rows(gateway, "refused")
    assert json.loads(row["entry"])["outcome"] == "refused"
    assert b"metadata" in row["response"]


def test_the_api_finds_what_was_kept(gateway):
    ask(gateway, "api", KEPT, body=b'{"model":"m","messages":[{"content":"Ouagadougou"}]}')
    (row,) = rows(gateway, "api")
    entry = json.loads(row["entry"])
    assert [found["id"] for found in api(gateway, "?search=ouagadougou&model=m")["rows"]] == [
        entry["id"]
    ]


def test_the_state_file_is_for_nobody_else(gateway):
    assert rows(gateway, "chat/completions")
    mode = (gateway.folder / "state" / "logs.db").stat().st_mode
    assert oct(mode & 0o777) == "0o600"


@pytest.fixture(scope="module")
def troubled() -> Iterator[RunningGateway]:
    """Give a gateway whose queue is small."""
    with ScriptedUpstream(upstreams_word) as upstream:
        logs = {"payload": True, "queue_bytes_max": "40KiB", "by_header": False}
        config = {
            "providers": {"openai": upstream.provider()},
            "plugins": {"logs": logs},
        }
        with running_gateway(config, plugins=ENABLED) as made:
            ask(made, "first")
            assert rows(made, "first")
            yield made


def test_where_callers_have_no_say_their_fields_say_nothing(troubled):
    ask(troubled, "no/say", (b"weir-collect-log", b"false"), (b"cf-aig-collect-log", b"false"))
    (row,) = rows(troubled, "no/say")
    assert row["response"] == CHAT


def events(gateway: RunningGateway, name: str) -> list[dict[str, Any]]:
    return [line for line in gateway.log if line.get("event") == name]


def said_in_time(gateway: RunningGateway, name: str) -> list[dict[str, Any]]:
    patient_until = time.monotonic() + 20
    while not (found := events(gateway, name)) and time.monotonic() < patient_until:
        time.sleep(0.05)
    return found


def test_a_locked_database_delays_nobody_and_costs_rows_beyond_the_queue(troubled):
    body = json.dumps({"model": "m", "filler": "z" * 3000}).encode()
    with locked(troubled):
        for _ in range(30):
            assert ask(troubled, "locked", body=body) == CHAT
        assert not in_file(troubled, "locked")
    found = rows(troubled, "locked", 5)
    assert 5 <= len(found) < 30
    ask(troubled, "unlocked")
    assert rows(troubled, "unlocked")
    assert len(events(troubled, "logs_queue_full")) == 1
    dropped = said_in_time(troubled, "logs_dropped")
    assert dropped[0]["rows"] == 30 - len(in_file(troubled, "locked"))


def test_a_full_disk_fails_nobody(troubled):
    # The gateway's own log is shorter, and has to go on.
    resource.prlimit(troubled.pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    for _ in range(3):
        assert ask(troubled, "full") == CHAT
    assert said_in_time(troubled, "logs_store_away")
    assert ask(troubled, "full") == CHAT
    assert not in_file(troubled, "full")
    everything = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(troubled.pid, resource.RLIMIT_FSIZE, everything)
    assert len(rows(troubled, "full", 4)) == 4
    assert said_in_time(troubled, "logs_store_back")


def test_a_frozen_postgresql_fails_nobody():
    with postgres_server() as server, ScriptedUpstream(upstreams_word) as upstream:
        address = server.database()
        config = {
            "providers": {"openai": upstream.provider()},
            "plugins": {"logs": {"store": address, "payload": True}},
        }

        def count() -> int:
            return int(server.ask(address, "SELECT count(*) FROM log_bodies")[0][0])

        with running_gateway(config, plugins=ENABLED) as made:
            ask(made, "before")
            patient_until = time.monotonic() + 20
            while not server.ask(address, "SELECT to_regclass('log_bodies')")[0][0] or not count():
                assert time.monotonic() < patient_until
                time.sleep(0.05)
            server.freeze()
            for _ in range(10):
                assert ask(made, "frozen") == CHAT
            server.thaw()
            server.kill()
            for _ in range(10):
                assert ask(made, "killed") == CHAT
            server.start()
            ask(made, "after")
            patient_until = time.monotonic() + 20
            while count() < 22 and time.monotonic() < patient_until:
                time.sleep(0.05)
            assert count() == 22


def test_what_a_stop_finds_waiting_is_written():
    with ScriptedUpstream(upstreams_word) as upstream:
        config = {"providers": {"openai": upstream.provider()}}
        with running_gateway(config, plugins=ENABLED) as made:
            for _ in range(20):
                ask(made, "last")
            made.stop()
            assert len(in_file(made, "last")) == 20


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"store": "mysql://x:secretpassword@y"}, 'wanted "sqlite"'),
        ({"redact": [{"pattern": "(a"}]}, "unterminated"),
    ],
)
def test_a_wrong_table_stops_the_start_and_says_why(table, message):
    with pytest.raises(StartFailed) as failed:
        with running_gateway({"plugins": {"logs": table}}, plugins=["logs"]):
            pass
    assert message in failed.value.stderr
    assert "secretpassword" not in failed.value.stderr


def test_weir_check_looks_at_the_store_and_makes_none(tmp_path):
    state = tmp_path / "state"
    path = tmp_path / "weir.toml"
    path.write_text(f'state_dir = "{state}"\nenabled = ["logs"]\n')
    assert CliRunner().invoke(main, ["check", "--config", str(path)]).exit_code == 0
    assert not state.exists()

    state.mkdir()
    with contextlib.closing(sqlite3.connect(state / "logs.db")) as newer:
        newer.execute("PRAGMA user_version = 99")
    result = CliRunner().invoke(main, ["check", "--config", str(path)])
    assert (result.exit_code, "store: sqlite: the schema is 99" in result.output) == (78, True)
