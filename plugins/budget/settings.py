"""What the configuration says of budgets."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from gateway import Duration, Secret, check_store_address, parse_duration

from .places import EXACT_MAX
from .rules import NANOS_PER_USD, Rule, amount_of

MEMORY: Final = "memory"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be spent.

    rules: The budgets, a table each; the README lists their keys.
    store: "memory" for one process, or "redis://host:6379/0" (rediss:// with TLS, unix:// for a
        socket) for all that share it. It is one for all gateways, fixed at start.
    store_user: The name to log in to it with; empty means the default one's.
    store_password: The password to log in to it with.
    store_timeout: How long a request waits for it.
    on_store_lost: While it is away, "local" lets each process spend its share of what was left,
        "refuse" answers 503.
    nodes: How many gateways share it, with equally many workers each. Fixed at start.
    webhook: Where alerts are posted to, as JSON; empty means nowhere. It is fixed at start.
    webhook_secret: Signs them, HMAC-SHA256 in weir-signature.
    webhook_patience: How long one is tried again.
    counters_max: Counters kept at most in each process, one for each rule and subject. It is fixed
        at start.
    """

    rules: tuple[Rule, ...] = ()
    store: str = MEMORY
    store_user: str = ""
    store_password: Secret | None = None
    store_timeout: Duration = parse_duration("50ms")
    on_store_lost: Literal["local", "refuse"] = "local"
    nodes: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    webhook: str = ""
    webhook_secret: Secret | None = None
    webhook_patience: Duration = parse_duration("5m")
    counters_max: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 100_000

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"rules: two are named {twice}; give one another name")
        if self.webhook and not self.webhook.startswith(("http://", "https://")):
            raise ValueError('webhook: wanted an address such as "https://alerts.example/weir"')
        if self.store == MEMORY:
            return
        try:
            check_store_address(self.store)
        except ValueError as error:
            raise ValueError(f'store: {error}; or "memory"') from error
        for rule in self.rules:
            if amount_of(rule.limit)[0] >= EXACT_MAX:
                raise ValueError(
                    f"limit: of the rule {rule.name}: a shared store counts up to "
                    f"{EXACT_MAX // NANOS_PER_USD} USD, or {EXACT_MAX} tokens"
                )
