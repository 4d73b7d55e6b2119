"""What sums and bills want to know of an entry: its shape for the decoder, which skips the rest.

Apart from what is done with it (`records`), which can be compiled; these classes make themselves.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Used(msgspec.Struct, gc=False):
    """What sums and bills want to know of an attempt."""

    n: int | None = None
    provider: str | None = None
    fresh_input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    output_text: int | None = None
    output_reasoning: int | None = None
    cost_nanousd: int | None = None
    estimated: bool = False
    reported: bool = False
    response_id: str | None = None


class Facts(msgspec.Struct, gc=False):
    """What sums and bills want to know of an exchange; nobody else needs an entry decoded."""

    id: str
    path: str | None = None
    gateway: str | None = None
    key: str | None = None
    team: str | None = None
    user: str | None = None
    provider: str | None = None
    model: str | None = None
    outcome: str | None = None
    duration_us: int | None = None
    bytes_sent: int | None = None
    attempts: tuple[Used, ...] = ()


facts_in: Final = msgspec.json.Decoder(Facts).decode
