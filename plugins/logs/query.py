"""Reads which rows somebody wants, from names and texts: a query string, or a command's options."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal, InvalidOperation
from typing import Final
from uuid import UUID

from gateway import parse_duration, parse_time

from .records import FACTS, METADATA, NUMBERS, Query
from .searching import phrases

LIMIT: Final = 50
LIMIT_MAX: Final = 1000
ORDERS: Final = ("newest", "oldest")
# Of one field; any of them fits.
VALUES_MAX: Final = 100
SEARCH_CHARS_MAX: Final = 1000
# Names that stand once. They and the fields are all that can be asked for.
FILTERS: Final = ("since", "until", "search")
ONCE: Final = (*FILTERS, "order", "limit", "cursor")
LEAST: Final = "min_"
MOST: Final = "max_"
_FLAGS: Final = frozenset({"streaming", "end_marker", "estimated", "reported"})
_CLASS: Final = re.compile(r"[1-5]xx")
# What these are called elsewhere, Cloudflare's logs first.
_ALSO: Final = {
    "start_date": "since",
    "end_date": "until",
    "q": "search",
    "text": "search",
    "id": "/api/logs/ID or `weir logs show ID`",
    "status_code": "status",
    "success": "outcome=complete",
    "cached": "outcome=cached",
    "tokens_in": "min_fresh_input",
    "tokens_out": "min_output_text",
    "cost": "min_cost",
    "duration": "min_duration",
    "order_by": "order",
    "order_by_direction": "order",
    "per_page": "limit",
    "page": "cursor",
}


def read(asked: Iterable[tuple[str, str]], now_ms: int, *, names: Collection[str] = ONCE) -> Query:
    """The rows that pairs of name and text ask for. A field may stand several times: any fits.

    names: those of `ONCE` that have a place here. ValueError names what is wrong.
    """
    once: dict[str, str] = {}
    equal: dict[str, list[str]] = {}
    least: dict[str, float] = {}
    most: dict[str, float] = {}
    for name, text in asked:
        if name in names:
            _put(once, name, text)
        elif name.startswith(LEAST):
            _put(least, *_bound(name, LEAST, text, names))
        elif name.startswith(MOST):
            _put(most, *_bound(name, MOST, text, names))
        elif name == "status" and _CLASS.fullmatch(text):
            _put(least, name, int(text[0]) * 100)
            _put(most, name, int(text[0]) * 100 + 99)
        elif name in FACTS or name in NUMBERS or _is_metadata(name):
            equal.setdefault(name, []).append(_value(name, text))
        else:
            raise ValueError(f"{name}: there is no such parameter; {_hint(name, names)}")
    for name, values in equal.items():
        if len(values) > VALUES_MAX:
            raise ValueError(f"{name}: wanted at most {VALUES_MAX} values")
    since, until = _span(once, now_ms)
    newest_first = _order(once) == "newest"
    cursor = None if "cursor" not in once else _cursor(once["cursor"])
    return Query(
        since_ms=since,
        until_ms=until,
        equal={name: tuple(values) for name, values in equal.items()},
        least=least,
        most=most,
        text=None if "search" not in once else _search(once["search"]),
        newest_first=newest_first,
        limit=_limit(once),
        before=cursor if newest_first else None,
        after=None if newest_first else cursor,
    )


def is_narrow(query: Query) -> bool:
    """Whether it leaves any row out, other than by its limit."""
    return query.text is not None or bool(
        query.since_ms or query.until_ms is not None or query.equal or query.least or query.most
    )


def _put(into: dict[str, float] | dict[str, str], name: str, value: float | str) -> None:
    if name in into:
        raise ValueError(f"{name}: given twice")
    into[name] = value  # type: ignore[assignment]  # each caller has one kind


def _is_metadata(name: str) -> bool:
    return name.startswith(METADATA) and len(name) > len(METADATA)


def _value(name: str, text: str) -> str:
    """A value as it stands in rows."""
    if name in _FLAGS and text not in ("true", "false"):
        raise ValueError(f"{name}: wanted true or false, given {text!r}")
    if name in NUMBERS or name == "attempts.status":
        number = _number(name, text, "429 or 4xx" if name == "status" else "1")
        return str(int(number)) if number.is_integer() else repr(number)
    return text


def _bound(name: str, prefix: str, text: str, names: Collection[str]) -> tuple[str, float]:
    """A bound's field, and its value as rows have it."""
    field = name.removeprefix(prefix)
    if field in AMOUNTS:
        field, reader = AMOUNTS[field]
        return field, reader(name, text)
    if field not in NUMBERS:
        raise ValueError(f"{name}: there is no such parameter; {_hint(name, names)}")
    return field, _number(name, text, "100")


def _number(name: str, text: str, example: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{name}: wanted a number such as {example}, given {text!r}")
    return found


def _nanousd(name: str, text: str) -> float:
    try:
        found = Decimal(text) * 10**9
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite():
        raise ValueError(f"{name}: wanted US dollars such as 0.01, given {text!r}")
    return float(found)


def _microseconds(name: str, text: str) -> float:
    try:
        return parse_duration(text) / 1000
    except ValueError:
        raise ValueError(f'{name}: wanted a time such as "2s" or "300ms", given {text!r}') from None


def _span(once: dict[str, str], now_ms: int) -> tuple[int, int | None]:
    found: dict[str, int] = {}
    for name in ("since", "until"):
        if name in once:
            try:
                found[name] = max(parse_time(once[name], now_ms), 0)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    since, until = found.get("since", 0), found.get("until")
    if until is not None and until <= since:
        raise ValueError("until: wanted a time after since")
    return since, until


def _order(once: dict[str, str]) -> str:
    found = once.get("order", ORDERS[0])
    if found not in ORDERS:
        raise ValueError(f"order: wanted {' or '.join(ORDERS)}, given {found!r}")
    return found


def _limit(once: dict[str, str]) -> int:
    text = once.get("limit", str(LIMIT))
    if not (text.isascii() and text.isdecimal() and len(text) <= 6 and 0 < int(text) <= LIMIT_MAX):
        raise ValueError(f"limit: wanted a number from 1 to {LIMIT_MAX}, given {text!r}")
    return int(text)


def _cursor(text: str) -> bytes:
    found = row_id(text)
    if found is None:
        raise ValueError(f"cursor: wanted the id of a row, as an answer's `next`, given {text!r}")
    return found


def row_id(text: str) -> bytes | None:
    """An id as rows have it; None for what is none."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found.bytes if str(found) == text.lower() else None


def _search(text: str) -> str:
    if len(text) > SEARCH_CHARS_MAX:
        raise ValueError(f"search: wanted at most {SEARCH_CHARS_MAX} characters")
    phrases(text)  # a ValueError where there is no word in it
    return text


def _hint(name: str, names: Collection[str]) -> str:
    if name in _ALSO:
        return f"did you mean {_ALSO[name]}?"
    known = [*names, *sorted(FACTS | NUMBERS)]
    bounds = [prefix + each for each in (*AMOUNTS, *sorted(NUMBERS)) for prefix in (LEAST, MOST)]
    near = difflib.get_close_matches(name, [*known, *bounds], 1, 0.7)
    if near:
        return f"did you mean {near[0]}?"
    return f"wanted {', '.join(known)}, metadata.NAME, or min_ or max_ with a number's name"


# Bounds in the units that people use, beside those of rows.
AMOUNTS: Final[dict[str, tuple[str, Callable[[str, str], float]]]] = {
    "cost": ("cost_nanousd", _nanousd),
    "duration": ("duration_us", _microseconds),
    "head": ("head_us", _microseconds),
    "ttft": ("ttft_us", _microseconds),
}
