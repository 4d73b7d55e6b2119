"""A plugin that makes a request dear: it takes personal data out of prompts, as many gateways do.

Only the bench loads it, for what must be limited by the gateway and not by the load beside it.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from gateway import Attempt, Exchange, hookimpl

PATTERNS: Final = (
    (re.compile(rb"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{2,63})+"), b"[e-mail]"),
    # Before cards: it holds as many digits.
    (re.compile(rb"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"), b"[account]"),
    (re.compile(rb"\b\d(?:[ -]?\d){12,15}\b"), b"[card]"),
)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """There is nothing to set."""


class Plugin:
    """Reads the body whole and sends it up without what the patterns find."""

    reads = "json"

    def __init__(self, config: Config) -> None: ...

    @hookimpl
    def send(self, exchange: Exchange, attempt: Attempt) -> None:
        body = attempt.body
        if body is not None:
            for pattern, instead in PATTERNS:
                body = pattern.sub(instead, body)
            attempt.body = body
