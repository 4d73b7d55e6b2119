"""What the stories of the ledger share: callers, an upstream that keeps a log, and who compares.

Three tell of each exchange without knowing of the others: the callers, the upstream's log and the
ledger's rows. Each exchange bears a number, which the caller gives as metadata for the ledger and
in a field of its own for the upstream.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from plugins.ledger import Config
from plugins.ledger.journal import Journal
from plugins.ledger.records import sums_of
from plugins.ledger.shipper import Shipper
from plugins.ledger.stores import opened
from tests.whole.witness import INPUT_TOKENS, output_tokens

ROOT = Path(__file__).resolve().parents[2]
BODY = b'{"model": "m", "stream": %b}'
ENABLED = ["request_id", "metadata", "usage", "ledger"]

# What a caller knows of its exchange.
SENT, BEGUN, ENDED, BROKEN, LEFT, REFUSED = "sent", "begun", "ended", "broken", "left", "refused"


def configured(upstream: int, state: Path, store: str = "sqlite", **more: Any) -> dict[str, Any]:
    plugins = {"ledger": {"store": store, **more.pop("ledger", {})}}
    return {
        "enabled": ENABLED,
        "state_dir": str(state),
        "providers": {"openai": {"base_url": f"http://127.0.0.1:{upstream}"}},
        "plugins": plugins,
        **more,
    }


class Upstream:
    """The witness: its port, and the numbers that reached it, in order."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self._log = log

    @property
    def seen(self) -> list[int]:
        return [int(line) for line in self._log.read_text().splitlines()]


@contextlib.contextmanager
def witnessing(folder: Path) -> Iterator[Upstream]:
    log = folder / "upstream.log"
    log.touch()
    command = [sys.executable, "-m", "tests.whole.witness", str(log)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield Upstream(int(process.stdout.readline()), log)
        finally:
            process.kill()


class Callers:
    """Ask and ask again, so many at a time, and remember what became of each exchange."""

    def __init__(self) -> None:
        self.states: dict[int, str] = {}

    @property
    def in_flight(self) -> list[int]:
        return [n for n, state in self.states.items() if state in (SENT, BEGUN)]

    def those(self, state: str) -> list[int]:
        return [n for n, found in self.states.items() if found == state]

    async def ask_until(self, port: int, count: int, work: Callable[[], Awaitable[object]]) -> None:
        """Keep `count` in flight until some work is done, and hear each of them out."""
        asking = [asyncio.ensure_future(self._go_on(port, place)) for place in range(count)]
        try:
            await work()
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        for n in self.in_flight:
            self.states[n] = BROKEN

    async def _go_on(self, port: int, place: int) -> None:
        kinds = ("stream", "stream", "whole", "stream", "leave")
        while True:
            kind = kinds[len(self.states) % len(kinds)]
            if await self.ask(port, kind) == BROKEN:
                return

    async def ask(self, port: int, kind: str = "stream") -> str:
        """One exchange on a connection of its own; give what became of it."""
        number = len(self.states) + 1
        self.states[number] = SENT
        self.states[number] = await self._exchange(port, kind, number)
        return self.states[number]

    async def _exchange(self, port: int, kind: str, number: int) -> str:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return BROKEN
        try:
            writer.write(request(kind, number))
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ")[1])
            self.states[number] = BEGUN
            if kind == "leave":
                await reader.readuntil(b"word 3")
                writer.transport.abort()
                return LEFT
            if b"\r\nTransfer-Encoding: chunked" in head:
                await reader.readuntil(b"0\r\n\r\n")
            else:
                length = head.partition(b"\r\nContent-Length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
            return ENDED if status == 200 else REFUSED
        except (OSError, asyncio.IncompleteReadError):
            return BROKEN
        finally:
            writer.close()


def request(kind: str, number: int) -> bytes:
    body = BODY % (b"false" if kind == "whole" else b"true")
    lines = [
        b"POST /openai/v1/chat/completions HTTP/1.1",
        b"Host: localhost",
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        b'weir-metadata: {"n": %d}' % number,
        b"x-n: %d" % number,
        b"x-kind: %b" % (b"whole" if kind == "whole" else b"stream"),
    ]
    return b"\r\n".join([*lines, b"", body])


class Ledger(NamedTuple):
    """The rows' documents, and whether the sums are theirs."""

    rows: list[dict[str, Any]]
    agrees: bool


def read(state: Path, address: str = "sqlite") -> Ledger:
    """Read the store as it is."""

    async def look() -> Ledger:
        store = opened(address, state)
        await store.open()
        try:
            found = [entry async for entry in store.entries()]
            sums = {group: list(counts) for group, counts in (await store.sums()).items()}
            return Ledger([entry.document for entry in found], sums == sums_of(found))
        finally:
            await store.close()

    return asyncio.run(look())


def recover(state: Path, address: str = "sqlite") -> None:
    """Do what the next start does with what dead processes left."""

    async def take() -> None:
        journal = Journal(state / "journal", bytes_max=1 << 30)
        shipper = Shipper(journal, opened(address, state), Config(), journal.trim)
        shipper.start()
        await shipper.ask(shipper.recovered())
        assert await asyncio.to_thread(shipper.stop)
        journal.end()

    asyncio.run(take())


def compared(callers: Callers, seen: Sequence[int], ledger: Ledger) -> list[str]:
    """Everything that the three do not agree on."""
    faults = [] if ledger.agrees else ["the sums are not those of the rows"]
    by_number: dict[int, list[dict[str, Any]]] = {}
    for row in ledger.rows:
        by_number.setdefault(row["metadata"]["n"], []).append(row)
    for number, times in Counter(seen).items():
        if times != 1:
            faults.append(f"{number}: reached the upstream {times} times")
        if number not in by_number:
            faults.append(f"{number}: reached the upstream and is lost")
    for number, rows in by_number.items():
        state = callers.states.get(number)
        if state is None:
            faults.append(f"{number}: nobody asked that")
        if len(rows) != 1:
            faults.append(f"{number}: is there {len(rows)} times")
        faults += _faults_of(number, state, rows[0])
    return faults + [
        f"{number}: ended cleanly and is lost"
        for number in callers.those(ENDED)
        if number not in by_number
    ]


def _faults_of(number: int, state: str | None, row: dict[str, Any]) -> Iterator[str]:
    outcome = row["outcome"]
    if state == ENDED:
        used = (row.get("fresh_input"), row.get("output_text"))
        if outcome != "complete" or row.get("estimated"):
            yield f"{number}: ended cleanly, and its row is {outcome}"
        elif used != (INPUT_TOKENS, output_tokens(number)):
            yield f"{number}: used {used}"
    elif outcome == "orphaned" and state not in (BROKEN, LEFT):
        yield f"{number}: is orphaned, and its caller says {state}"
    elif outcome == "orphaned" and not row.get("estimated"):
        yield f"{number}: is orphaned, and no guess"
