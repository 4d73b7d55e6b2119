"""All prices of one configuration: its own, a file's, the package's, in this order.

A model is looked for once; afterwards its price, or that there is none, is at hand.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from .genai import Book
from .litellm import PriceFile
from .names import LOCAL
from .own import Model
from .prices import Price

# Callers can ask for any number of models; the usual ones are few.
RESOLVED_MAX: Final = 4096
_Key = tuple[str, str | None, str | None]


class Table:
    """See the module's docstring."""

    def __init__(
        self,
        models: tuple[Model, ...],
        aliases: Mapping[str, str],
        file: PriceFile | None,
        book: Book | None,
    ) -> None:
        self._own = tuple((model, model.price()) for model in models)
        self._aliases = aliases
        self._file = file
        self._book = book
        self._resolved: dict[_Key, Price | None] = {}

    def price(self, provider: str, answered: str | None, asked: str | None) -> Price | None:
        """What a model costs: the one that answered, else the one that was asked for."""
        key = (provider, answered, asked)
        resolved = self._resolved
        known = resolved.get(key)  # at once: a ledger asks from a thread of its own
        if known is not None:
            if known.until_ns is None or time.monotonic_ns() < known.until_ns:
                return known
        elif key in resolved:
            return None
        elif len(resolved) >= RESOLVED_MAX:
            resolved.clear()
        models = tuple(dict.fromkeys(name for name in (answered, asked) if name))
        price = resolved[key] = self._find(provider, models)
        return price

    def _find(self, provider: str, models: tuple[str, ...]) -> Price | None:
        for model, price in self._own:
            if model.fits(provider, models):
                return price
        known_as = self._aliases.get(provider, provider)
        if known_as in LOCAL:
            return None
        for source in (self._file, self._book):
            found = None if source is None else source.find(known_as, models)
            if found is not None:
                return found
        return None

    def names(self) -> list[str]:
        """The name of every model in its tables."""
        listed = [model.model for model, _ in self._own]
        for source in (self._file, self._book):
            listed += [] if source is None else source.names()
        return listed
