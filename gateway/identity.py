"""Whose a request is, and what came with that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.secret import Secret

NO_KEYS: Final[Mapping[str, Secret]] = {}


class Identity:
    """Who is calling, as far as an `authenticate` hook knows. Empty without one.

    rates, budgets: limits that came with it, each whose it is ("key", "team" or "user") and its
    text: ("key", "50/min"), ("team", "200 USD/month"). tags: words to find it by. provider_keys: by
    provider, what goes up in place of the provider's own key. grant: what its authenticator keeps
    of it, for itself alone; calls made for this request carry it too.
    """

    __slots__ = (
        "budgets",
        "grant",
        "key_id",
        "metadata",
        "name",
        "provider_keys",
        "rates",
        "tags",
        "team",
        "user",
    )

    def __init__(self) -> None:
        self.key_id: str | None = None
        self.name: str | None = None
        self.team: str | None = None
        self.user: str | None = None
        self.rates: tuple[tuple[str, str], ...] = ()
        self.budgets: tuple[tuple[str, str], ...] = ()
        self.tags: tuple[str, ...] = ()
        self.metadata: dict[str, str | int | float | bool] = {}
        self.provider_keys: Mapping[str, Secret] = NO_KEYS
        self.grant: object = None
