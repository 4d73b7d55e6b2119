"""Writes what genai-prices knows into a file, run as a process of its own.

The package needs a third of a second and 38 MB to import, so the gateway never does. Only what
finds a model and prices it is kept, in a form that `genai` reads.
"""

from __future__ import annotations

import os
import sys
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from genai_prices import types
from genai_prices.data import providers


def clause(match: Any) -> list[Any] | None:
    """A condition on a model's name: a word, and its text or further conditions."""
    match match:
        case None:
            return None
        case types.ClauseOr():
            return ["or", [clause(one) for one in match.or_]]
        case types.ClauseAnd():
            return ["and", [clause(one) for one in match.and_]]
        case types.ClauseRegex():
            return ["regex", match.regex]
        case types.ClauseEquals():
            return ["equals", match.equals.lower()]
        case types.ClauseContains():
            return ["contains", match.contains.lower()]
        case types.ClauseStartsWith():
            return ["starts", match.starts_with.lower()]
        case types.ClauseEndsWith():
            return ["ends", match.ends_with.lower()]
    raise TypeError(f"unknown condition {match!r}")


def prices(known: types.ModelPrice) -> dict[str, Any]:
    """Prices by the package's keys: text, or with tiers its base and a list of start and text."""
    return {
        key: str(value)
        if isinstance(value, Decimal)
        else [str(value.base), [[tier.start, str(tier.price)] for tier in value.tiers]]
        for key, value in vars(known).items()
        if value is not None and not key.startswith("_")
    }


def when(constraint: Any) -> list[Any] | None:
    """When a price holds: from a day on, or daily between two times, in UTC."""
    match constraint:
        case None:
            return None
        case types.StartDateConstraint():
            return ["from", constraint.start_date.isoformat()]
        case types.TimeOfDateConstraint():
            ends = (constraint.start_time, constraint.end_time)
            if any(end.tzinfo is not None and end.utcoffset() for end in ends):
                raise TypeError("a time of day that is not in UTC")
            return ["daily", *(end.hour * 60 + end.minute for end in ends)]
    raise TypeError(f"unknown constraint {constraint!r}")


def model(known: types.ModelInfo) -> dict[str, Any]:
    always = types.ConditionalPrice
    listed = known.prices if isinstance(known.prices, list) else [always(prices=known.prices)]
    return {
        "id": known.id,
        "match": clause(known.match),
        "prices": [[when(one.constraint), prices(one.prices)] for one in listed],
        "variants": [
            [one.when, when(one.constraint), prices(one.prices)]
            for one in known.price_variants or ()
        ],
    }


def everything() -> dict[str, Any]:
    return {
        "version": version("genai-prices"),
        "providers": {
            one.id: {
                "url": one.api_pattern,
                "fallback": one.fallback_model_providers or [],
                "models": [model(known) for known in one.models],
            }
            for one in providers
        },
    }


if __name__ == "__main__":
    target = Path(sys.argv[1])
    written = target.with_name(f"{target.name}.{os.getpid()}")
    written.touch(mode=0o600)
    written.write_bytes(orjson.dumps(everything()))
    written.replace(target)
