"""The options of the commands that make and change keys and teams."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import click
import orjson

from gateway import now_ms, parse_duration

_LISTS: Final = {
    "gateway": ("gateways", "A gateway that it is for."),
    "provider": ("providers", 'A provider that it may use, such as "openai" or "azure-*".'),
    "model": ("models", 'A model that it may use, such as "gpt-5*"; no others.'),
    "deny-model": ("denied_models", "A model that it may not use."),
    "path": ("paths", 'A path behind the provider\'s name, such as "v1/chat/*"; no others.'),
    "rate": ("rate_limits", 'A limit, such as "50/min" or "100k tokens/min".'),
    "budget": ("budgets", 'A budget, such as "200 USD/month".'),
    "tag": ("tags", "A word to find it by."),
    "network": ("networks", 'Whence it may be used, such as "10.0.0.0/8"; not from elsewhere.'),
}


class _Pair(click.ParamType[tuple[str, str]]):
    """NAME=VALUE."""

    name = "pair"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, str]:
        name, sign, text = value.partition("=")
        if not name or not sign:
            self.fail(f"wanted NAME=VALUE, given {value!r}", param, ctx)
        return name, text


PAIR: Final = _Pair()


def rules(command: Any) -> Any:
    """What keys and teams have in common; the command gets them for `fields`."""
    options = [
        click.option(f"--{name}", name_, multiple=True, help=text)
        for name, (name_, text) in _LISTS.items()
    ]
    options += [
        click.option("--expires", help='When it ends: "2026-12-31", or "30d" from now.'),
        click.option(
            "--metadata",
            type=PAIR,
            multiple=True,
            metavar="NAME=VALUE",
            help="What its requests say of themselves; a number or true is read as such.",
        ),
        click.option("--enabled/--disabled", default=None, help="Whether it works."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def clearing(command: Any) -> Any:
    """The option of changes that takes fields away."""
    clear: Callable[[Any], Any] = click.option(
        "--clear", multiple=True, metavar="FIELD", help="Take a field away, such as models."
    )
    return clear(command)


def fields(given: dict[str, Any]) -> dict[str, Any]:
    """The fields that were given, as a request has them."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or value == ():
            continue
        if name == "metadata":
            found[name] = {key: _scalar(text) for key, text in value}
        elif name == "provider_keys":
            found[name] = dict(value)
        elif name == "expires":
            found[name] = _expiry(value)
        elif name == "clear":
            found.update(dict.fromkeys(value))
        else:
            found[name] = list(value) if isinstance(value, tuple) else value
    return found


def _scalar(text: str) -> Any:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, str | int | float) else text


def _expiry(text: str) -> str:
    try:
        ms = now_ms() + parse_duration(text) // 1_000_000
    except ValueError:
        return text  # a date, which is judged with the other fields
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
