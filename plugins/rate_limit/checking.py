"""What a start, or a configuration, has to be like."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway import Gateway, StartError, check_store_address, parse_rate

_NAME: Final = "rate_limit"


def faults_of(store: str) -> Iterator[str]:
    if store != "memory":
        try:
            check_store_address(store)
        except ValueError as error:
            yield f'{error}; or "memory"'


def check_needs(gateway: Gateway, *, is_shared: bool) -> None:
    """What rules need. `StartError` with the way out."""
    workers = gateway.config.server.workers
    if workers > 1 and not is_shared:
        raise StartError(
            f"rate limits are counted in the memory of one process, and server.workers is "
            f'{workers}; set server.workers = 1, or plugins.rate_limit.store = "redis://..."'
        )
    for name, plan in gateway.plans.items():
        if _NAME not in plan.plugins or "usage" in plan.plugins:
            continue
        for rule in plan.settings[_NAME].rules:
            if parse_rate(rule.limit).unit.endswith("tokens"):
                raise StartError(
                    f'the gateway "{name}" limits tokens ({rule.name}) and does not know what is '
                    'used: enable "usage" there, before "rate_limit"'
                )
