"""Show what a model costs, and which table says so."""

from __future__ import annotations

import asyncio
import difflib
from decimal import Decimal
from typing import Any, Final

import click

from gateway.command import aligned, config_option, in_force, json_option, say, say_json

from . import NAME, Config
from .litellm import opened
from .loading import book_in
from .names import PROVIDERS
from .prices import NEXT, PICOS_PER_USD, TOKENS, UNITS, Price, Rates
from .table import Table

_MILLION: Final = 1_000_000
_NEAR_MAX: Final = 5
# What a price is for, where it is not a million tokens.
_PER: Final = {
    "request": "request",
    "image": "image",
    "web_search": "search",
    "search_unit": "search",
    "character": "1M characters",
    "audio_hour": "hour",
}


@click.group("prices")
def command() -> None:
    """Show what a model costs, and which table says so."""


@command.command("show")
@click.argument("model")
@click.option("--provider", help="Of this provider only. Default: every one that has the model.")
@config_option
@json_option
def show(model: str, provider: str | None, path: str | None, as_json: bool) -> None:
    """What MODEL costs, by tier and lane. Exit code 1 if no table knows it."""
    table = _table(path)
    wanted = PROVIDERS if provider is None else (provider,)
    found = {name: price for name in wanted if (price := table.price(name, None, model))}
    if as_json:
        near = [] if found else _near(model, table)
        prices = [_document(name, price) for name, price in found.items()]
        say_json({"model": model, "prices": prices, "near": near})
    for name, price in {} if as_json else found.items():
        say(f"{model} of {name}, by {price.source}")
        for line in aligned(_rows(price)):
            say(f"  {line}")
    if not found:
        if not as_json:
            near = _near(model, table)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            say(f"No table has a price for {model}{hint}", err=True)
        raise SystemExit(1)


def _table(path: str | None) -> Table:
    config, settings = in_force(path, NAME)
    assert isinstance(settings, Config)
    folder = config.state_path
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    book = asyncio.run(book_in(folder)) if settings.bundled else None
    file = opened(settings.file) if settings.file else None
    return Table(settings.models, settings.aliases, file, book)


def _near(model: str, table: Table) -> list[str]:
    return difflib.get_close_matches(model.lower(), sorted(set(table.names())), _NEAR_MAX)


def _document(provider: str, price: Price) -> dict[str, Any]:
    lanes = {name: _priced(lane) for name, lane in price.lanes.items()}
    return {"provider": provider, "source": price.source, **_priced(price), "lanes": lanes}


def _priced(price: Price) -> dict[str, Any]:
    tiers = [{"above": above, "usd": _dollars(rates)} for above, rates in reversed(price.tiers)]
    return {"usd": _dollars(price.rates), "tiers": tiers}


def _rows(price: Price) -> list[list[str]]:
    """A line for each price, and a column for each tier and lane."""
    columns = [("usual", price.rates)]
    columns += [(f"above {above}", rates) for above, rates in reversed(price.tiers)]
    for name, lane in price.lanes.items():
        columns.append((name, lane.rates))
        columns += [(f"{name} above {above}", rates) for above, rates in reversed(lane.tiers)]
    sheets = [_dollars(rates) for _, rates in columns]
    rows = [["dollars", "for", *(head for head, _ in columns)]]
    others = {name: kind[0] for name, kind in NEXT if name not in ("input", "output")}
    for name in dict.fromkeys(name for sheet in sheets for name in sheet):
        cells = [sheet.get(name, "") for sheet in sheets]
        # What costs the same as the next more general thing is no news.
        if cells != [sheet.get(others.get(name, "")) for sheet in sheets]:
            rows.append([name, _PER.get(name, "1M tokens"), *cells])
    return rows


def _dollars(rates: Rates) -> dict[str, str]:
    """What a table says, as text that is exact; tokens by the million."""
    shown = {}
    for name in TOKENS:
        is_known = rates.writes if name.startswith(("output", "reasoning")) else rates.reads
        if is_known:
            shown[name] = _usd(getattr(rates, name), _MILLION)
    if rates.request:
        shown["request"] = _usd(rates.request)
    for name, detail in UNITS.items():
        if detail in rates.units:
            per = _MILLION if name == "character" else 1
            shown[name] = _usd(rates.units[detail], per)
    return shown


def _usd(picos: int, per: int = 1) -> str:
    return f"{(Decimal(picos * per) / PICOS_PER_USD).normalize():f}"
