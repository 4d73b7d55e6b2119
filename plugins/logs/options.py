"""The options of the commands that choose rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from .query import LEAST, MOST

# What has an option of its own; everything else is there by --where, --min and --max.
_FIELDS: Final = ("model", "provider", "team", "user", "key", "status", "outcome", "gateway")

Pairs = list[tuple[str, str]]


class _Pair(click.ParamType[tuple[str, str]]):
    """NAME=VALUE."""

    name = "pair"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        name, sign, text = value.partition("=")
        if not name or not sign:
            self.fail(f"wanted NAME=VALUE, given {value!r}", param, ctx)
        return name, text


def filters(*, times: bool = True, words: bool = True) -> Callable[[Any], Any]:
    """The options that choose rows; the command gets them as `asked`, pairs for `query.read`."""
    options = [
        click.option("--since", help="From then on: 2026-11-28, 2026-11-28T09:00Z or 7d."),
        click.option("--until", help="Up to then, likewise."),
    ]
    if not times:
        options = []
    if words:
        options.append(click.option("--search", metavar="WORDS", help="All occur in a body."))
    options += [click.option(f"--{name}", multiple=True) for name in _FIELDS]
    options += [
        click.option(
            "--where",
            type=_Pair(),
            multiple=True,
            metavar="NAME=VALUE",
            help="Any other field, or metadata.NAME. Of one named twice, either value fits.",
        ),
        click.option("--min", "least", type=_Pair(), multiple=True, metavar="NAME=NUMBER"),
        click.option(
            "--max",
            "most",
            type=_Pair(),
            multiple=True,
            metavar="NAME=NUMBER",
            help="Bounds of a number, such as cost=0.01, duration=2s or output_text=1000.",
        ),
    ]

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def pairs(asked: dict[str, Any]) -> Pairs:
    """The options that were given, as `query.read` takes them."""
    found: Pairs = []
    for name, given in asked.items():
        if name in ("where", "least", "most"):
            prefix = {"where": "", "least": LEAST, "most": MOST}[name]
            found += [(prefix + field, text) for field, text in given]
        elif isinstance(given, tuple):
            found += [(name, text) for text in given]
        elif given is not None:
            found.append((name, str(given)))
    return found


def searched(words: tuple[str, ...]) -> str:
    """Arguments as one search. The shell took the quotes of one that is a phrase."""
    return " ".join(f'"{word}"' if " " in word and '"' not in word else word for word in words)
