from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway import log
from gateway.secret import Secret

TIMESTAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


class Sink:
    """A file that the log goes to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def text(self) -> str:
        assert log.flush()
        return self.path.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def sink(tmp_path) -> Iterator[Sink]:
    sink = Sink(tmp_path / "log")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    log.set_up("info", "json", fd=sink.fd)
    yield sink
    log.set_up("warning", "auto")
    os.close(sink.fd)
    root.handlers[:] = handlers
    root.setLevel(level)


def fail(text: str) -> None:
    raise RuntimeError(text)


def test_a_line_is_json_with_time_level_event_and_source_first(sink):
    log.get("gateway.pool").warning("attempt_failed", provider="openai", status=502)
    (line,) = sink.lines()
    assert re.fullmatch(TIMESTAMP, line.pop("timestamp"))
    assert line == {
        "level": "warning",
        "event": "attempt_failed",
        "source": "gateway.pool",
        "provider": "openai",
        "status": 502,
    }
    assert sink.text().startswith('{"timestamp":"')


def test_a_level_that_is_off_writes_nothing_and_loggers_follow_a_change(sink):
    logger = log.get("levels")
    logger.debug("unseen")
    logger.info("seen")
    log.set_up("debug", "json", fd=sink.fd)
    logger.debug("now_seen")
    log.set_up("error", "json", fd=sink.fd)
    logger.warning("unseen_again")
    logger.error("still_seen")
    assert [line["event"] for line in sink.lines()] == ["seen", "now_seen", "still_seen"]


def test_one_name_is_one_logger():
    assert log.get("same") is log.get("same")
    assert log.get("same") is not log.get("other")


def test_values_that_json_has_not_are_told_as_text(sink):
    log.get("values").info("odd", data=b"ab\xff", path=Path("/x"), error=ValueError("no"))
    (line,) = sink.lines()
    assert (line["data"], line["path"], line["error"]) == (
        "ab\\xff",
        "PosixPath('/x')",
        "ValueError('no')",
    )


def test_values_that_no_json_can_hold_still_make_a_line(sink):
    log.get("values").info("odd\ud800", big=2**80, text="\udcff", plain="kept")
    (line,) = sink.lines()
    assert line["event"] == "'odd\\ud800'"
    assert (line["big"], line["text"], line["plain"]) == (str(2**80), "'\\udcff'", "kept")


def test_an_exception_brings_its_traceback(sink):
    try:
        fail("the cause")
    except RuntimeError:
        log.get("faults").exception("plugin_failed", plugin="x")
    (line,) = sink.lines()
    assert (line["level"], line["plugin"]) == ("error", "x")
    assert "RuntimeError: the cause" in line["exception"]
    assert "test_log.py" in line["exception"]


def test_a_secret_is_blanked_in_values_texts_and_tracebacks(sink):
    secret = Secret(b'sk-live-"quoted"-0123')
    text = secret.reveal().decode()
    log.get("secrets").info("sent", key=text, secret=secret, header=secret.reveal())
    try:
        fail(f"bad key {text}")
    except RuntimeError as error:
        log.get("secrets").exception("failed", error=repr(error))
    written = sink.text()
    assert "sk-live" not in written
    assert "quoted" not in written
    assert written.count("***") >= 4


UNKNOWN = "whatever-nobody-registered"


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Proxy-Authorization",
        "api_key",
        "apikey",
        "x-api-key",
        "X-Goog-Api-Key",
        "token",
        "access_token",
        "admin.token",
        "password",
        "client_secret",
        "credential",
        "cookie",
        "Set-Cookie",
    ],
)
@pytest.mark.parametrize("form", ["json", "console"])
def test_a_value_is_blanked_by_its_name_wherever_in_an_event_it_is(sink, name, form):
    log.set_up("info", form, fd=sink.fd)
    logger = log.get("names")
    logger.info("sent", **{name: UNKNOWN})
    logger.info("sent", headers={name: UNKNOWN}, rows=[{name: [UNKNOWN]}])
    logger.info("sent", fields=[(name, UNKNOWN)], raw=((name.encode(), UNKNOWN.encode()),))
    text = sink.text()
    assert UNKNOWN not in text
    assert text.count("***") == 5
    assert text.count(name) >= 5


def test_what_only_sounds_like_a_secret_is_kept(sink):
    facts = {
        "tokens": "12",
        "input_tokens": 5,
        "token": 7,
        "key_id": "k1",
        "plugin": "credentials",
        "pair": ["a", "b"],
        "provider": "token",
    }
    log.get("names").info("counted", **facts)
    (line,) = sink.lines()
    assert {name: line[name] for name in facts} == facts


def test_a_reference_to_a_secret_may_be_read(sink):
    log.get("names").info("missing", api_key=Secret(None, reference="env:GROQ_API_KEY"))
    (line,) = sink.lines()
    assert line["api_key"] == "Secret(env:GROQ_API_KEY)"


def test_the_level_alone_can_be_changed_and_the_one_before_is_given(sink):
    logger = log.get("levels")
    assert log.set_level("debug") == "info"
    logger.debug("seen")
    assert log.set_level("error") == "debug"
    logger.info("unseen")
    assert [line["event"] for line in sink.lines()] == ["seen"]


def test_the_console_is_for_people(sink):
    secret = Secret(b"sk-live-on-console")
    log.set_up("info", "console", fd=sink.fd)
    log.get("gateway.pool").warning("attempt_failed", provider="openai", key="sk-live-on-console")
    line = sink.text()
    assert re.match(TIMESTAMP, line)
    assert "[warning  ] attempt_failed" in line
    assert "provider=openai" in line
    assert "key=***" in line
    assert "\x1b" not in line
    assert not secret.missing


def test_auto_is_json_where_nobody_watches(sink):
    log.set_up("info", "auto", fd=sink.fd)
    log.get("auto").info("event")
    assert sink.lines()[0]["event"] == "event"


def terminal_output(environ: dict[str, str]) -> bytes:
    """Give what the log writes to a terminal."""
    code = "from gateway import log; log.set_up('info'); log.get('x').info('shown', a=1)"
    leader, follower = os.openpty()
    command = [sys.executable, "-c", code]
    subprocess.run(command, stderr=follower, env=os.environ | environ, check=True, timeout=30)
    os.close(follower)
    data = os.read(leader, 65_536)
    os.close(leader)
    return data


def test_auto_is_the_console_on_a_terminal_with_colour_unless_refused():
    coloured = terminal_output({"NO_COLOR": ""})
    assert b"shown" in coloured
    assert b"\x1b[" in coloured
    plain = terminal_output({"NO_COLOR": "1"})
    assert b"shown" in plain
    assert b"a=1" in plain
    assert b"\x1b[" not in plain


def test_what_libraries_log_joins_the_stream(sink):
    library = logging.getLogger("aiohttp.server")
    library.info("chatter")
    library.warning("odd request from %s", "a caller")
    try:
        fail("no route")
    except RuntimeError:
        library.exception("failed")
    first, second = sink.lines()
    assert (first["event"], first["source"]) == ("library_message", "aiohttp.server")
    assert (first["level"], first["message"]) == ("warning", "odd request from a caller")
    assert second["level"] == "error"
    assert "RuntimeError: no route" in second["exception"]


def test_setting_up_twice_tells_library_messages_once(sink):
    log.set_up("info", "json", fd=sink.fd)
    logging.getLogger("twice").warning("once")
    assert len(sink.lines()) == 1


def test_structlogs_own_test_tool_works_on_our_loggers(sink):
    logger = log.get("captured")
    logger.info("before")
    with structlog.testing.capture_logs() as captured:
        logger.info("inside", a=1)
    logger.info("after")
    assert captured == [{"source": "captured", "a": 1, "event": "inside", "log_level": "info"}]
    assert [line["event"] for line in sink.lines()] == ["before", "after"]


def run(code: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_last_lines_are_written_when_the_process_ends():
    code, _, errors = run("""
        from gateway import log
        log.set_up("info", "json")
        for number in range(500):
            log.get("x").info("line", number=number)
    """)
    assert code == 0
    assert [json.loads(line)["number"] for line in errors.splitlines()] == list(range(500))


def test_until_it_is_set_up_only_warnings_come_and_libraries_are_left_alone():
    code, output, errors = run("""
        import logging
        before = logging.getLogger().handlers[:]
        from gateway import log
        log.get("x").info("unseen")
        log.get("x").warning("seen")
        assert logging.getLogger().handlers == before
    """)
    assert (code, output) == (0, "")
    assert [json.loads(line)["event"] for line in errors.splitlines()] == ["seen"]


def test_lines_that_nobody_took_are_counted():
    code, output, _ = run("""
        import os
        from gateway import log
        read, write = os.pipe()
        log.set_up("info", "json", fd=write)
        for number in range(30_000):
            log.get("x").info("line", text="x" * 100)
        print(log.dropped() > 1_000, log.flush(0.1), flush=True)
        os._exit(0)
    """)
    assert (code, output) == (0, "True False\n")
