"""What the mock upstream is told to do, in one short line.

The line comes in the `x-bench` header or in the query as `x-bench=`, words divided by blanks,
commas or plus signs:

    json=600                       one body of 600 bytes
    sse=250 gap=20 size=320        250 events of 320 bytes, one each 20 ms (gap=0: no pause)
    shape=anthropic                openai, anthropic or gemini; left out, the path decides
    status=429                     the provider's error of that status
    wait=100                       milliseconds before the first byte
    fault=cut after=3              cut (FIN), reset (RST) or stall, after so many events or bytes

"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

Shape = Literal["openai", "anthropic", "gemini"]
Fault = Literal["", "cut", "reset", "stall"]

WORDS = re.compile(r"[\s,+]+")
# Wider than any test needs, small enough that a slip of the finger does not eat the machine's
# memory.
SIZE_MAX = 256 * 1024 * 1024


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer. `json` is the body's size; `sse`, if set, makes it a stream of so many events."""

    json: int = 600
    sse: int = 0
    gap: float = 20.0
    size: int = 320
    shape: Shape = "openai"
    status: int = 200
    wait: float = 0.0
    fault: Fault = ""
    after: int = 0


def parse(text: str, **defaults: object) -> Script:
    """Read a line; raises ValueError with a sentence that names the bad word."""
    wanted: dict[str, object] = dict(defaults)
    for word in WORDS.split(text.strip()):
        if not word:
            continue
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"x-bench: {word!r} is not of the form key=value")
        wanted[key] = value
    try:
        script = msgspec.convert(wanted, Script, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"x-bench: {error}") from error
    if not 0 <= max(script.json, script.size) <= SIZE_MAX:
        raise ValueError(f"x-bench: sizes go up to {SIZE_MAX}")
    if min(script.json, script.size, script.sse, script.gap, script.wait, script.after) < 0:
        raise ValueError("x-bench: no number may be negative")
    return script


def line(script: Script) -> str:
    """The way back: the shortest line that parses to the same script."""
    plain = Script()
    return " ".join(
        f"{key}={value}"
        for key, value in msgspec.to_builtins(script).items()
        if value != getattr(plain, key)
    )


def shape_of(target: bytes) -> Shape:
    """Whose API a path belongs to."""
    if b":generateContent" in target or b":streamGenerateContent" in target:
        return "gemini"
    if b"/messages" in target:
        return "anthropic"
    return "openai"
