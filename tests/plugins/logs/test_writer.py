"""Rows reach the store behind the traffic's back, and what cannot is dropped and counted."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import StoreAway, StoreRefused
from plugins.logs import Config, writer
from plugins.logs.collecting import Passed, Side
from plugins.logs.records import Body, LogRow, Query
from plugins.logs.rules import Rule
from plugins.logs.sqlite import SqliteStore
from plugins.logs.writer import Writer
from tests.plugins.logs.made import AT_MS, made

PATIENCE_S = 20.0


class Troubled(SqliteStore):
    """A store that has trouble when it is told to."""

    trouble: Exception | None = None
    gate: threading.Event | None = None

    async def add(self, rows: Sequence[LogRow]) -> None:
        if self.gate is not None:
            while not self.gate.is_set():
                await asyncio.sleep(0.01)
        if self.trouble is not None:
            raise self.trouble
        if any(b'"bad"' in row.entry for row in rows):
            raise StoreRefused("one is bad")
        await super().add(rows)


class Running:
    """A writer, and what is in its store."""

    def __init__(
        self,
        folder: Path,
        *,
        now: int = AT_MS + 10_000,
        stop_s: float = writer.STOP_S,
        expire_rows: int = writer.EXPIRE_ROWS,
        **config: Any,
    ) -> None:
        self.path = folder / "logs.db"
        self.store = Troubled(self.path)
        self.counted = 0
        self.writer = Writer(
            self.store,
            Config(**config),
            self._count,
            now=lambda: now,
            stop_s=stop_s,
            rules_s=20.0,
            expire_rows=expire_rows,
        )

    def _count(self) -> None:
        self.counted += 1

    def rows(self, **query: Any) -> list[LogRow]:
        async def read() -> list[LogRow]:
            store = SqliteStore(self.path)
            await store.open()
            found = await store.find(Query(newest_first=False, limit=10_000, **query))
            await store.close()
            return found

        return asyncio.run(read())

    def soon(self, count: int, **query: Any) -> list[LogRow]:
        until = time.monotonic() + PATIENCE_S
        while len(found := self.rows(**query)) < count and time.monotonic() < until:
            time.sleep(0.02)
        return found


def entry(n: int, **facts: Any) -> bytes:
    return made(n, **facts).entry + b"\n"


def side(data: bytes, kind: bytes = b"Application/JSON; charset=utf-8", size: int = 0) -> Side:
    return Side(bytearray(data), kind, size or len(data))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    found = Running(tmp_path)
    found.writer.start()
    yield found
    found.writer.stop()


def test_entries_become_rows(running):
    for n in range(500):
        running.writer.put(entry(n))
    rows = running.soon(500)
    assert [row.at_ms - AT_MS for row in rows] == list(range(500))
    assert rows[0].document == made(0).document
    assert (rows[0].request, rows[0].response) == (None, None)
    tally = running.writer.tally
    assert tally.came == tally.went > 0


def test_bodies_are_cut_blanked_and_searched(running):
    long = b'{"a":"4111111111111111 ' + b"word " * 100 + b'"}'
    rules = (Rule(r"\d{16}", "[card]"),)
    tail = side(b"Tail", b"text/plain", 999)
    running.writer.put(Passed(entry(1), side(long), tail, 64, rules, (b"word word",)))
    (row,) = running.soon(1)
    assert row.request == Body(None, "application/json", len(long), is_cut=True)
    found = running.rows(bodies=True)[0]
    assert (
        found.request.data
        == b'{"a":"[card] ' + b"*** *** *** *** *** *** *** *** *** *** *** *** *** "[:51]
    )
    assert found.response == Body(b"Tail", "text/plain", 999, is_cut=True)
    assert running.rows(text="card tail")
    assert not running.rows(text="4111111111111111")


def test_a_body_that_rules_cannot_be_applied_to_is_left_out(running):
    running.writer._redactor.rules_s = 0.3
    slow = (Rule("(a+)+$(?<=b)"),)
    with capture_logs() as logged:
        running.writer.put(Passed(entry(1), side(b"a" * 64 + b"!"), None, 999, slow, ()))
        running.writer.put(entry(2))
        assert len(running.soon(2)) == 2
    found = running.rows(bodies=True)[0]
    assert found.request == Body(b"", "application/json", 65, is_cut=True)
    assert [line["event"] for line in logged] == ["logs_body_left_out"]


def test_a_row_that_the_store_refuses_costs_no_other(running):
    with capture_logs() as logged:
        for n in range(50):
            running.writer.put(entry(n, model="bad" if n == 17 else "good"))
        assert len(running.soon(49)) == 49
    assert [line["event"] for line in logged] == ["logs_row_refused"]


def test_what_is_no_entry_costs_no_other(running):
    with capture_logs() as logged:
        running.writer.put(b"{}")
        running.writer.put(entry(1))
        assert len(running.soon(1)) == 1
    assert [line["event"] for line in logged] == ["logs_row_failed"]
    tally = running.writer.tally
    assert tally.came == tally.went


def test_a_store_that_is_away_costs_what_the_queue_cannot_hold(tmp_path):
    running = Running(tmp_path, queue_bytes_max=20_000)
    running.store.trouble = StoreAway("gone")
    body = side(b"x" * 1_000)
    with capture_logs() as logged:
        running.writer.start()
        for n in range(100):
            running.writer.tally.came += 1_000
            running.writer.put(Passed(entry(n), body, None, 999_999, (), ()))
        assert 80 < running.counted < 95
        assert 0 <= running.writer.tally.room < 2_000
        running.store.trouble = None
        kept = running.soon(100 - running.counted)
        assert [row.at_ms - AT_MS for row in kept] == list(range(100 - running.counted))
        running.writer.put(entry(200))
        assert running.soon(len(kept) + 1)[-1].at_ms == AT_MS + 200
        running.writer.stop()
    told = {line["event"]: line for line in logged}
    assert told.keys() - {"logs_store_away", "logs_store_back"} == {
        "logs_queue_full",
        "logs_dropped",
    }
    assert told["logs_dropped"]["rows"] == running.counted
    assert running.writer.tally.came == running.writer.tally.went


def test_a_stop_writes_what_waits(tmp_path):
    running = Running(tmp_path)
    running.writer.start()
    for n in range(1_000):
        running.writer.put(entry(n))
    running.writer.stop()
    assert len(running.rows()) == 1_000


def test_a_stop_does_not_wait_for_ever_and_says_what_is_lost(tmp_path):
    running = Running(tmp_path, stop_s=0.3)
    running.store.gate = threading.Event()
    running.writer.start()
    running.writer.put(entry(1))
    time.sleep(0.5)  # it is at it, mostly
    running.writer.put(entry(2))
    began = time.monotonic()
    with capture_logs() as logged:
        running.writer.stop()
    assert time.monotonic() - began < 5
    assert [line["rows"] for line in logged if line["event"] == "logs_dropped"] == [2]


def test_old_rows_go_in_small_steps_and_by_size(tmp_path):
    now, keep = AT_MS + 3_600_000 + 20, 3_600 * 10**9
    running = Running(tmp_path, now=now, expire_rows=9, keep=keep, keep_bytes_max=30_000)

    async def fill() -> None:
        store = SqliteStore(running.path)
        await store.open()
        await store.add([made(n) for n in range(100)])
        await store.close()

    asyncio.run(fill())
    running.writer.start()
    until = time.monotonic() + PATIENCE_S
    while (found := running.rows())[0].at_ms < AT_MS + 20 and time.monotonic() < until:
        time.sleep(0.05)
    while len(found := running.rows()) > 45 and time.monotonic() < until:
        time.sleep(0.05)
    running.writer.stop()
    assert 20 < len(found) < 45  # of some 700 bytes each
    assert found[-1].at_ms == AT_MS + 99
