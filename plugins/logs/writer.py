"""Brings rows into the store: a thread with an event loop of its own, behind a bounded queue.

Rows are the best that can be had, never a promise: what the queue cannot hold while a store is
away, or slow, is dropped and counted. Money is the ledger's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import orjson

from gateway import StoreAway, StoreRefused, get_logger, id_at, now_ms

from .collecting import Passed, Side, Tally
from .readable import Said, words_said
from .records import Body, LogRow
from .redacting import RULES_S, Failed, Redactor
from .stores import Store

if TYPE_CHECKING:
    from . import Config

log = get_logger("logs")

EVERY_S: Final = 0.2
BATCH_ROWS: Final = 200
PAUSE_MAX_S: Final = 5.0
# At the stop the store has this long to take what is left.
STOP_S: Final = 5.0
EXPIRE_EVERY_S: Final = 3600.0
EXPIRE_ROWS: Final = 500
_KIND: Final = re.compile(rb"[\w.+-]{1,100}/[\w.+-]{1,100}")
# What an entry that waits takes beside its text.
WAITING_BYTES: Final = 200


class Writer:
    """One per process. `start`, `stop` and `put` are for the owner's thread; `stop` waits.

    count: is told of each row that is dropped for want of room; on the owner's thread.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        count: Callable[[], None],
        *,
        now: Callable[[], int] = now_ms,
        stop_s: float = STOP_S,
        rules_s: float = RULES_S,
        expire_rows: int = EXPIRE_ROWS,
    ) -> None:
        self.tally = Tally(config.queue_bytes_max)
        self._store = store
        self._config = config
        self._count = count
        self._queue: deque[bytes | Passed] = deque()
        self._redactor = Redactor(rules_s)
        self._now = now
        self._stop_s = stop_s
        self._expire_rows = expire_rows
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="logs-writer", daemon=True)
        self._wake = asyncio.Event()
        self._stopping = False
        self._round: asyncio.Timeout | None = None
        self._ready: list[LogRow] = []  # taken from the queue, and not yet in the store
        self._ready_bytes = 0
        self._is_open = False
        self._expired_at = -EXPIRE_EVERY_S
        self._bound: bytes | None = None  # where the present hour's deleting ends
        self._away_since: float | None = None
        self._dropped = 0  # since the queue was last known to be full
        self._failed_at = -PAUSE_MAX_S

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write what there is, within `STOP_S`, and end the thread."""
        with contextlib.suppress(RuntimeError):  # the thread has ended by itself
            self._loop.call_soon_threadsafe(self._hurry)
        self._thread.join(2 * self._stop_s)
        self._say_dropped()

    def put(self, passed: bytes | Passed) -> None:
        """Take a row: its entry alone, or with its bodies, whose bytes have been counted."""
        size = WAITING_BYTES + (len(passed) if isinstance(passed, bytes) else len(passed.entry))
        tally = self.tally
        if tally.room < size:
            if not isinstance(passed, bytes):
                tally.came -= _held(passed)
            self._drop()
            return
        tally.came += size
        self._queue.append(passed)
        if self._dropped:
            self._say_dropped()

    # -- on the owner's thread ---------------------------------------------------------------------

    def _drop(self) -> None:
        self._count()
        if not self._dropped:
            log.error("logs_queue_full", detail="rows are dropped until the store keeps up")
        self._dropped += 1

    def _say_dropped(self) -> None:
        if self._dropped:
            log.error("logs_dropped", rows=self._dropped)
            self._dropped = 0

    # -- on the thread -----------------------------------------------------------------------------

    def _hurry(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._round is not None:
            with contextlib.suppress(RuntimeError):  # it is over
                self._round.reschedule(self._loop.time() + self._stop_s)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._work())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._redactor.close()
            self._loop.close()

    async def _work(self) -> None:
        pause = EVERY_S
        while True:
            is_last = self._stopping
            try:
                async with asyncio.timeout(self._stop_s if is_last else None) as self._round:
                    await self._go_round(is_last=is_last)
                pause = EVERY_S
                self._note(None)
            except StoreAway as error:
                pause = min(2 * pause, PAUSE_MAX_S)
                self._note(str(error))
                await self._close()
            except TimeoutError:
                self._note("it did not answer before the stop")
                break
            except Exception as error:  # whatever it was, the next round may do better
                pause = min(2 * pause, PAUSE_MAX_S)
                log.error("logs_failed", error=repr(error), exc_info=error)
            if is_last:
                break
            if not self._stopping:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)
        left = len(self._queue) + len(self._ready)
        if left:
            log.error("logs_dropped", rows=left)
        await self._close()

    async def _go_round(self, *, is_last: bool) -> None:
        if not self._is_open:
            await self._store.open()
            self._is_open = True
        until = self._loop.time() + self._stop_s
        while self._queue or self._ready:
            self._prepare()
            await self._add(self._ready)
            self.tally.went += self._ready_bytes
            self._ready, self._ready_bytes = [], 0
            # A few rows wait for others; and there is more to do than to write.
            is_over = self._loop.time() > until
            if is_over or (len(self._queue) < BATCH_ROWS and not is_last):
                break
        if not is_last and time.monotonic() - self._expired_at >= EXPIRE_EVERY_S:
            await self._expire()

    async def _close(self) -> None:
        self._is_open = False
        with contextlib.suppress(StoreAway, TimeoutError):
            async with asyncio.timeout(self._stop_s):
                await self._store.close()

    async def _add(self, rows: list[LogRow]) -> None:
        """Have the store take rows. One that it refuses is dropped, and the rest goes on."""
        try:
            await self._store.add(rows)
        except StoreRefused as error:
            if len(rows) > 1:
                half = len(rows) // 2
                await self._add(rows[:half])
                await self._add(rows[half:])
            else:
                log.error("logs_row_refused", detail=str(error))

    def _prepare(self) -> None:
        """Make the rows of the next batch, unless the last one is still there."""
        while self._queue and len(self._ready) < BATCH_ROWS:
            passed = self._queue.popleft()
            entry = passed if isinstance(passed, bytes) else passed.entry
            size = WAITING_BYTES + len(entry)
            try:
                row = LogRow(uuid.UUID(orjson.loads(entry)["id"]).bytes, entry.rstrip())
                if not isinstance(passed, bytes):
                    size += _held(passed)
                    row = self._with_bodies(row, passed)
                self._ready.append(row)
            except Exception as error:  # one row, and not the others behind it
                log.error("logs_row_failed", error=repr(error), exc_info=error)
            self._ready_bytes += size

    def _with_bodies(self, row: LogRow, passed: Passed) -> LogRow:
        request, asked = self._body(passed.request, passed)
        response, answered = self._body(passed.response, passed)
        return row._replace(request=request, response=response, words=words_said(asked, answered))

    def _body(self, side: Side | None, passed: Passed) -> tuple[Body | None, Said | None]:
        """A body as it is kept, and what it says."""
        if side is None:
            return None, None
        found = _KIND.match(side.type)
        kind = "" if found is None else found[0].decode().lower()
        is_cut = side.size > len(side.data)
        body = Body(bytes(side.data), kind, side.size, is_cut=is_cut)
        try:
            body, said = self._redactor.body(body, passed.rules, passed.credentials)
        except Failed as error:
            now = time.monotonic()
            if now - self._failed_at >= PAUSE_MAX_S:
                log.error("logs_body_left_out", detail=str(error))
            self._failed_at = now
            return body._replace(data=b"", is_cut=True), None
        data = body.data or b""
        if len(data) > passed.bytes_max:
            body = body._replace(data=data[: passed.bytes_max], is_cut=True)
            said = Said(body)
        return body, said

    async def _expire(self) -> None:
        """Delete some of what is too old, or too much; a next round goes on."""
        if self._bound is None:
            config = self._config
            self._bound = id_at(self._now() - config.keep // 1_000_000)
            if config.keep_bytes_max:
                over = await self._store.bound_of(config.keep_bytes_max)
                self._bound = max(self._bound, over or b"")
        if await self._store.expire(self._bound, self._expire_rows) < self._expire_rows:
            self._bound = None
            self._expired_at = time.monotonic()

    def _note(self, reason: str | None) -> None:
        """One line for each time the store goes away and comes back."""
        if reason is None:
            if self._away_since is not None:
                away_s = round(time.monotonic() - self._away_since, 1)
                log.warning("logs_store_back", away_s=away_s)
                self._away_since = None
        elif self._away_since is None:
            self._away_since = time.monotonic()
            log.error("logs_store_away", detail=reason)


def _held(passed: Passed) -> int:
    """The bytes of its bodies that were counted."""
    return sum(len(side.data) for side in (passed.request, passed.response) if side is not None)
