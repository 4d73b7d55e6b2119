"""What cannot be kept within budgets, told before it begins: a start, and a stream."""

from __future__ import annotations

from typing import Final

from gateway import Exchange, Gateway, StartError

from .holds import Note
from .refusing import unstoppable
from .rules import Limit

_NAME: Final = "budget"
# Amazon's streams of binary messages.
_UNSTOPPABLE: Final = (b"/converse-stream", b"/invoke-with-response-stream")


def check_stream(exchange: Exchange, note: Note, provider: str, path: bytes) -> None:
    """Refuse a stream that a rule would have to end and cannot. path: what that provider is asked
    for.
    """
    if note.demand.output is not None or not path.endswith(_UNSTOPPABLE):
        return
    for limit, _ in note.entries:
        if limit.rule.stop_in_flight and limit.subject(exchange, provider) is not None:
            raise unstoppable(limit)


def check_needs(gateway: Gateway, *, is_shared: bool) -> None:
    """What rules need. `StartError` with the way out."""
    workers = gateway.config.server.workers
    if workers > 1 and not is_shared:
        raise StartError(
            f"budgets are counted in the memory of one process, and server.workers is {workers}; "
            'set server.workers = 1, or plugins.budget.store = "redis://..."'
        )
    for name, plan in gateway.plans.items():
        rules = plan.settings[_NAME].rules if _NAME in plan.plugins else ()
        needed = {"usage"} if rules else set()
        if any(limit.in_usd or limit.asks_model for limit in map(Limit, rules)):
            needed.add("cost")
        missing = sorted(needed - set(plan.plugins))
        if missing:
            raise StartError(
                f'the gateway "{name}" has budgets and does not know what is used: enable '
                f'{" and ".join(missing)} there, before "budget"'
            )
