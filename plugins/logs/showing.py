"""Rows for people who look at a terminal.

Most of what a row says was chosen by callers and providers: what would move the cursor, change
colours or turn the direction of the text is written out instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from .readable import Said
from .records import Body, LogRow

HEAD: Final = ("started (UTC)", "model", "status", "outcome", "in", "out", "USD", "took", "id")
# Of a table whose rows are not known beforehand.
WIDTHS: Final = (19, 26, 6, 24, 6, 6, 9, 7, 36)
_UNSEEN: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_INPUT: Final = ("fresh_input", "cache_read", "cache_write")
_OUTPUT: Final = ("output_text", "output_reasoning")
# Facts that have a line of their own, or stand in another one's.
_ELSEWHERE: Final = frozenset({"attempts", "request", "response"})


def cells(row: LogRow) -> tuple[str, ...]:
    """A row of a table under `HEAD`; what is not known is empty."""
    facts = row.document
    names = [facts[name] for name in ("provider", "model") if name in facts]
    asked = "/".join(names) if "model" in facts else facts.get("path", "")
    error = facts.get("error")
    cost = facts.get("cost_nanousd")
    shown = (
        row.started_at[:19].replace("T", " "),
        asked,
        str(facts.get("status", "")),
        facts["outcome"] if error is None else f"{facts['outcome']}: {error}",
        _sum(facts, _INPUT),
        _sum(facts, _OUTPUT),
        "" if cost is None else f"{cost / 1e9:.6f}",
        took(facts.get("duration_us")),
        facts["id"],
    )
    return tuple(" ".join(clean(cell).split()) for cell in shown)


def line(cells: tuple[str, ...]) -> str:
    """Such a row where it comes alone."""
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def facts(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known of a row, names and values."""
    for name, value in document.items():
        if name not in _ELSEWHERE and value is not None:
            yield name, _written(value)
    for attempt in document.get("attempts", ()):
        own = [
            f"{name} {_written(value)}"
            for name, value in attempt.items()
            if name not in ("n", "provider") and document.get(name) != value
        ]
        yield f"attempt {attempt['n']}", ", ".join([_written(attempt["provider"]), *own])


def body(side: str, found: Body | None) -> Iterator[str]:
    """A body's lines: JSON laid out, the text of a stream put together, anything else as it is."""
    if found is None:
        yield f"-- {side}: not kept --"
        return
    cut = f", cut after {len(found.data or b'')}" if found.is_cut else ""
    kind = found.type or "no content type"
    text, is_base64 = found.shown()
    if found.type == "text/event-stream":
        kind = f"text of {kind}"
        text = "\n".join(Said(found).said)
    elif is_base64:
        text = "(no text)"
    else:
        try:
            laid_out = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2)
            text = laid_out.decode()
        except orjson.JSONDecodeError:
            pass  # it is no JSON, or cut
    yield f"-- {side}: {clean(kind)}, {found.size} bytes{cut} --"
    yield clean(text)


def _written(value: Any) -> str:
    return clean(value if isinstance(value, str) else orjson.dumps(value).decode())


def clean(text: str) -> str:
    """A text that does nothing to a terminal but to be read."""
    return _UNSEEN.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def took(us: int | None) -> str:
    """Microseconds as people say them."""
    if us is None:
        return ""
    if us < 1_000_000:
        return f"{us / 1000:.0f} ms"
    return f"{us / 1e6:.1f} s"


def _sum(facts: dict[str, Any], names: tuple[str, ...]) -> str:
    known = [facts[name] for name in names if name in facts]
    return str(sum(known)) if known else ""
