"""Prices what each attempt used, in whole nano-dollars, and says by which table.

The configuration's own prices come first, then a file in LiteLLM's format, then what the package
genai-prices knows. Nothing is fetched at run time. A model that none of them knows costs null.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from gateway import Exchange, Gateway, get_logger, hookimpl

from .charging import charge
from .genai import Book
from .litellm import as_last_read, opened
from .loading import book_in
from .own import Model, read_field
from .prices import Price
from .table import Table

log = get_logger("cost")

NAME: Final = "cost"
FIELD: Final = b"custom-cost"
# So many unknown models are named in the log, each once; the counter goes on.
TOLD_MAX: Final = 1000


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where prices come from.

    models: Prices of your own, before all tables; the first that fits counts.
    file: A file in the format of LiteLLM's model_prices_and_context_window.json; empty means none.
        A reload reads it again.
    bundled: Use what the package genai-prices knows (the extra `prices`). One for all gateways.
    aliases: Providers of your own that cost what a known one does.
    allow_custom: Take a caller's word for it: `weir-custom-cost`, in Cloudflare's form.
    """

    models: tuple[Model, ...] = ()
    file: str = ""
    bundled: bool = True
    aliases: dict[str, str] = {}
    allow_custom: bool = False

    def __post_init__(self) -> None:
        if self.file:
            try:
                opened(self.file)
            except ValueError as error:
                raise ValueError(f"file: {self.file}: {error}") from error


class Prices:
    """The capability `prices`: what a model would cost."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin

    def price(self, provider: str, model: str, gateway: str = "default") -> Price | None:
        """Its price in that gateway; None where nobody knows.

        `price.cost(usage)` and `price.worst(input_tokens, output_tokens)` are nano-dollars;
        `price.output_max` is the most tokens of an answer, or None.
        """
        return self._plugin.table(gateway).price(provider, None, model)


class Plugin:
    """See the module's docstring."""

    after = ("usage",)

    def __init__(self, config: Config) -> None:
        self.config = config
        self._book: Book | None = None
        self._gateway: Gateway | None = None
        self._tables: dict[str, tuple[Config, Table]] = {}
        self._told: set[tuple[str, str | None]] = set()

    def idle(self, config: Config) -> tuple[str, ...]:
        """Without a caller's word there is nothing to do before the end."""
        return () if config.allow_custom else ("prepare",)

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncIterator[None]:
        self._gateway = gateway
        self._tables.clear()
        self._book = await book_in(gateway.state_path) if self.config.bundled else None
        gateway.provide("prices", Prices(self))
        yield

    @hookimpl
    def prepare(self, exchange: Exchange) -> None:
        written = exchange.control(FIELD)
        if written is not None:
            exchange.notes[NAME] = read_field(written)

    @hookimpl
    def settle(self, exchange: Exchange) -> None:
        said: Price | None = exchange.notes.get(NAME)
        if said is not None:
            _price_as_said(exchange, said)
            return
        config = exchange.settings[NAME]
        kept = self._tables.get(exchange.gateway)
        if kept is not None and kept[0] is config:
            table = kept[1]
        else:
            table = self._renewed(exchange.gateway, config)
        charge(exchange, table, self._miss)

    def table(self, gateway: str) -> Table:
        """The prices of one gateway."""
        config = self.config
        if self._gateway is not None and gateway in self._gateway.plans:
            config = self._gateway.plans[gateway].settings.get(NAME, config)
        kept = self._tables.get(gateway)
        if kept is None or kept[0] is not config:
            return self._renewed(gateway, config)
        return kept[1]

    def _renewed(self, gateway: str, config: Config) -> Table:
        """A table of settings that were not seen before: at the start, after a reload."""
        file = as_last_read(config.file) if config.file else None
        table = Table(config.models, config.aliases, file, self._book)
        self._tables[gateway] = (config, table)
        return table

    def _miss(self, provider: str, answered: str | None, asked: str | None) -> None:
        if self._gateway is not None:
            self._gateway.count("unpriced")
        model = (provider, answered or asked)
        if model not in self._told and len(self._told) < TOLD_MAX:
            self._told.add(model)
            log.warning("model_unpriced", provider=provider, model=(answered or asked or "")[:200])


def _price_as_said(exchange: Exchange, said: Price) -> None:
    """By the caller's prices; a total is that of the last attempt, and of no other."""
    known = [a.usage for a in exchange.attempts if a.usage is not None and a.usage.is_known]
    for number, usage in enumerate(known, 1):
        is_counted = said.total is None or number == len(known)
        usage.cost_nanousd = said.cost(usage) if is_counted else 0
        usage.prices = said.source
