"""Records as a gateway writes them, made by hand."""

from __future__ import annotations

import uuid
from typing import Any

import orjson

from plugins.ledger.records import Entry, record_of

HOUR_MS = 3_600_000
AT_MS = 500_000 * HOUR_MS


def id_of(number: int, at_ms: int = AT_MS) -> str:
    """Make the id of an exchange that began then."""
    return str(uuid.UUID(bytes=at_ms.to_bytes(6, "big") + b"\x70" + number.to_bytes(9, "big")))


def opening(id_: str, n: int = 1, **facts: Any) -> bytes:
    facts = {"provider": "openai", "gateway": "default", "bytes": 400, **facts}
    return orjson.dumps({"open": id_, "n": n, **facts}) + b"\n"


def attempt(n: int = 1, **facts: Any) -> dict[str, Any]:
    return {"n": n, "provider": "openai", "fresh_input": 10, "output_text": 5, **facts}


def closing(id_: str, *attempts: dict[str, Any], **facts: Any) -> bytes:
    document = {
        "id": id_,
        "path": "/openai/v1/chat/completions",
        "gateway": "default",
        "provider": "openai",
        "model": "m",
        "outcome": "complete",
        "bytes_sent": 7,
        "duration_us": 11,
        **facts,
        "attempts": list(attempts) or [attempt()],
    }
    return orjson.dumps(document) + b"\n"


def entry(id_: str, *attempts: dict[str, Any], **facts: Any) -> Entry:
    found = record_of(closing(id_, *attempts, **facts))
    assert isinstance(found, Entry)
    return found
