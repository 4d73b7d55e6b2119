"""What RFC 9110 and RFC 9112 ask of an HTTP/1.1 gateway with the word MUST: what a row is,
and how it is told.

A row is a request and an upstream's answer as raw bytes, and a check of what came out on both
sides. It is told of the gateway, and of nginx and HAProxy as controls: a row that neither keeps may
be wrong itself.
`tests.whole.must_report` has all of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

from gateway.testing import (
    BrokenOff,
    RawAnswer,
    RawCaller,
    Request,
    ScriptedUpstream,
    Visit,
    running_gateway,
    sized,
)
from tests.whole import controls

# Stands in every target, and becomes the row's name: whoever asks the upstream is told by it.
PLACE: Final = b"/v1/x"
OK: Final = sized(b"hello")
# How long an answer may take that has to come, and how long one is looked for that need not.
PATIENCE_S: Final = 5.0
GLANCE_S: Final = 0.25
# Rows that are told at once.
AT_ONCE: Final = 24


@dataclass
class Seen:
    """What came of a row. asked: what reached the upstream. answers: what the caller was answered;
    the last may be cut. interim: heads of 1xx before them. rest: bytes behind the last that are no
    answer. ending: of the caller's connection, "silence" if it stays open.
    """

    asked: list[Request]
    answers: list[RawAnswer] = field(default_factory=list)
    interim: list[bytes] = field(default_factory=list)
    rest: bytes = b""
    ending: str = "silence"

    @property
    def status(self) -> int:
        return self.answers[0].status if self.answers else 0

    @property
    def is_closed(self) -> bool:
        return self.ending in ("fin", "reset")

    @property
    def is_served(self) -> bool:
        return bool(self.answers) and self.answers[0].is_complete and self.status == 200


Check = Callable[[Seen], bool]


@dataclass(frozen=True)
class Must:
    """name: stands in the target. section: of which RFC. says: what it demands. sends: the caller's
    bytes, on one connection. answer: the upstream's, to each request; none: the request's target as
    a body. cuts: whether the upstream closes behind it. then: sent by the caller once it has seen a
    head. count: answers to wait for.
    """

    name: str
    section: str
    says: str
    check: Check
    sends: bytes
    answer: bytes = OK
    cuts: bool = False
    then: bytes = b""
    count: int = 1


# -- telling ---------------------------------------------------------------------------------------


class Upstream:
    """Answers each request as the row that it belongs to says, and keeps them apart."""

    def __init__(self, rows: Iterable[Must]) -> None:
        self.rows = {row.name.encode(): row for row in rows}
        self.asked: dict[bytes, list[Request]] = defaultdict(list)

    def __call__(self, visit: Visit) -> None:
        found = re.search(rb"/v1/([a-z0-9_]+)", visit.request.target)
        name = found[1] if found is not None else b""
        self.asked[name].append(visit.request)
        row = self.rows[name]
        if visit.request.get(b"expect") is not None:
            visit.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        visit.read()
        visit.send(row.answer or sized(visit.request.target))
        if row.cuts:
            visit.fin()


def tell(row: Must, port: int, upstream: Upstream) -> Seen:
    """Send a row's request there and see what comes of it."""
    name = row.name.encode()
    seen = Seen(upstream.asked[name])
    here = b"/v1/" + name
    with RawCaller(port, timeout_s=PATIENCE_S) as caller:
        with suppress(ConnectionError):  # answered and closed before we were done
            caller.send(row.sends.replace(PLACE, here))
        try:
            if row.then:
                _hear(caller, row, seen)
            while True:
                is_head = not seen.answers and row.sends.startswith(b"HEAD")
                answer = caller.answer(to=b"HEAD" if is_head else b"GET")
                seen.answers.append(answer)
                seen.interim += answer.interim
                if not answer.is_complete:
                    seen.ending = answer.ending
                    break
                if len(seen.answers) >= row.count:
                    caller.sock.settimeout(GLANCE_S)
        except BrokenOff as broken:
            seen.ending, seen.rest = broken.ending, broken.raw
        except (ValueError, IndexError):  # no status line, as HTTP/0.9 has none
            seen.rest = b"?"
    return seen


def _hear(caller: RawCaller, row: Must, seen: Seen) -> None:
    """Wait for a head before sending on; a final one is left to whoever reads answers."""
    head = caller.wire.head()
    if head.split(b" ")[1].startswith(b"1"):
        seen.interim.append(head)
        caller.send(row.then)
    else:
        seen.answers.append(RawAnswer(head, []))


def tell_all(rows: Iterable[Must], port: int, upstream: Upstream) -> dict[str, Seen]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = {row.name: pool.submit(tell, row, port, upstream) for row in rows}
        return {name: future.result() for name, future in told.items()}


def of_gateway(rows: Sequence[Must]) -> dict[str, Seen]:
    upstream = Upstream(rows)
    with (
        ScriptedUpstream(upstream) as scripted,
        running_gateway({"providers": {"openai": scripted.provider()}}) as gateway,
    ):
        seen = tell_all(rows, gateway.port, upstream)
        assert gateway.crashes == []
        return seen


def of_control(rows: Sequence[Must], start: controls.Start) -> dict[str, Seen]:
    upstream = Upstream(rows)
    with ExitStack() as stack:
        scripted = stack.enter_context(ScriptedUpstream(upstream))
        seen = tell_all(rows, stack.enter_context(start(scripted.port)), upstream)
        scripted.faults.clear()  # what a control lets through is not ours to judge
        return seen
