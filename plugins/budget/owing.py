"""What is spent and given back goes to the shared store in order, each once, as soon as it can.

Calls are numbered, and the store skips a number that it has had: what went out when the connection
broke is said again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from gateway import RedisLink, StoreLost, get_logger

from .places import Held
from .scripts import GIVE

log = get_logger("budget")

# Requests whose spending waits for the store; beyond it the oldest are forgotten there, and are in
# the ledger only.
OWED_MAX: Final = 10_000
# So many wait for a reply.
_SENT_MAX: Final = 500


class Answer(msgspec.Struct, frozen=True):
    """Of a provider, which may be asked for again. known: how well what it used is known, for
    `scripts.GIVE`.
    """

    provider: str
    response_id: str
    known: bytes

    @property
    def key(self) -> bytes:
        name = f"{{weir}}:budget:answer:{self.provider}:{self.response_id}"
        return name.encode("utf-8", "backslashreplace")


class Due(msgspec.Struct):
    """What one request gives back: of each hold how much was spent.

    key: the request's name. ended_us: when it ended, in microseconds since 1970.
    """

    key: bytes
    ended_us: int
    backs: Sequence[tuple[Held, int]]
    answer: Answer | None = None
    number: int = 0
    is_done: bool = False


class Owing:
    """One per process. name: the process's. encoded: gives the keys and arguments of what is due by
    now. heard: told of each reply.
    """

    def __init__(
        self,
        link: RedisLink,
        name: bytes,
        encoded: Callable[[Due], tuple[list[bytes], list[bytes]]],
        heard: Callable[[Due, list[Any]], None],
    ) -> None:
        self._link = link
        self._last = b"{weir}:budget:process:" + name
        self._encoded = encoded
        self._heard = heard
        self._number = 0
        self._waiting: deque[Due] = deque()
        self._sent: deque[Due] = deque()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent)

    def add(self, due: Due) -> None:
        self._number += 1
        due.number = self._number
        if len(self) >= OWED_MAX:
            (self._sent or self._waiting).popleft()
            log.error("spending_not_shared", waiting=OWED_MAX)
        self._waiting.append(due)
        self.pay()

    def pay(self) -> None:
        """Say what has not been said, if the store is there."""
        while self._waiting and self._link.is_up and len(self._sent) < _SENT_MAX:
            due = self._waiting.popleft()
            if due.is_done:
                continue
            keys, arguments = self._encoded(due)
            keys.append(self._last)
            if due.answer is not None:
                keys.append(due.answer.key)
            try:
                reply = self._link.call(GIVE, keys, arguments, partial(self._late, due))
            except StoreLost:
                self._waiting.appendleft(due)
                return
            self._sent.append(due)
            reply.add_done_callback(partial(self._replied, due))

    def _replied(self, due: Due, reply: Any) -> None:
        if not reply.cancelled() and reply.exception() is None:
            self._late(due, reply.result())

    def _late(self, due: Due, reply: Any) -> None:
        """It has been done, however late; with None nobody knows, and all that have no reply are
        said again.
        """
        if reply is None:
            self._waiting.extendleft(reversed([each for each in self._sent if not each.is_done]))
            self._sent.clear()
            return
        due.is_done = True
        while self._sent and self._sent[0].is_done:
            self._sent.popleft()
        self._heard(due, reply)
        self.pay()
