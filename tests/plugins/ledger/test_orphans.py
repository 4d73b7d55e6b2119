"""An exchange whose process died is what its openings say, and a guess."""

from __future__ import annotations

import orjson

from gateway import Usage
from plugins.ledger.orphans import orphan_of
from plugins.ledger.records import Opening, record_of
from tests.plugins.ledger.entries import id_of, opening


def opening_of(line: bytes) -> Opening:
    found = record_of(line)
    assert isinstance(found, Opening)
    return found


def test_an_orphan_is_what_its_openings_say_and_a_guess():
    found = orphan_of(
        [
            opening_of(opening(id_of(1), n=2, provider="b", bytes=800, key="k", team="t")),
            opening_of(opening(id_of(1), n=1, provider="a", bytes=400, key="k", team="t")),
            opening_of(opening(id_of(1), n=2, provider="b", bytes=800, key="k", team="t")),
        ]
    )
    assert found.document == {
        "id": id_of(1),
        "gateway": "default",
        "provider": "b",
        "key": "k",
        "team": "t",
        "outcome": "orphaned",
        "fresh_input": 300,
        "estimated": True,
        "attempts": [
            {"n": 1, "provider": "a", "fresh_input": 100, "estimated": True},
            {"n": 2, "provider": "b", "fresh_input": 200, "estimated": True},
        ],
    }
    assert orjson.loads(found.text) == found.document


class Price:
    source = "table 1"

    def cost(self, usage: Usage) -> int | None:
        return 3 * (usage.fresh_input or 0)


class Prices:
    """Knows one provider."""

    def price(self, provider: str, model: str, gateway: str = "default") -> Price | None:
        return Price() if (provider, model, gateway) == ("a", "m", "g") else None


def test_what_was_read_is_priced_where_its_price_is_known():
    facts = {"gateway": "g", "model": "m"}
    openings = [
        opening_of(opening(id_of(1), n=n, provider=provider, bytes=400, **facts))
        for n, provider in enumerate(("a", "b"), 1)
    ]
    first, last = orphan_of(openings, Prices()).document["attempts"]
    assert (first["cost_nanousd"], first["prices"]) == (300, "table 1")
    assert "cost_nanousd" not in last
    assert orphan_of(openings, Prices()).document["cost_nanousd"] == 300
    assert "cost_nanousd" not in orphan_of(openings).document

    nameless = [opening_of(opening(id_of(1), provider="a", gateway="g"))]
    assert "cost_nanousd" not in orphan_of(nameless, Prices()).document
