"""What is counted and logged: refusals, and what rules that only report would have refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from gateway import Subject, get_logger

from .rules import Limit, named

log = get_logger("rate_limit")

# A rule is in the log at most once in this time, with how often it was due.
EVERY_NS: Final = 1_000_000_000


class Report:
    """counted: adds one to a counter of the process, by its name."""

    def __init__(self) -> None:
        self.counted: Callable[[str], None] = lambda _: None
        self._told: dict[str, tuple[int, int]] = {}

    def refused(self, limit: Limit) -> None:
        self.counted("rate_limit_refused")

    def over(self, limit: Limit, subject: Subject) -> None:
        """A rule in shadow mode would have refused."""
        self.counted("rate_limit_shadow_refused")
        now_ns = time.monotonic_ns()
        told_ns, count = self._told.get(limit.name, (-EVERY_NS, 0))
        if now_ns - told_ns < EVERY_NS:
            self._told[limit.name] = (told_ns, count + 1)
            return
        self._told[limit.name] = (now_ns, 0)
        whose = named(limit, subject)
        log.warning("rate_limit_shadow_refused", rule=limit.name, subject=whose, unlogged=count)
