"""No request costs more than was said of it before, where it says what it will use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway import Usage
from plugins.cost.prices import LANES, TOKENS, UNITS, Price, rates_of
from tests.plugins.cost.test_prices import COUNTERS, PARTS, amounts, priced, usages


class Holding:
    """A request with so many units, and with sound and pictures."""

    def __init__(self, units: dict[str, int] | None = None) -> None:
        self._units = units

    def has_media(self) -> bool:
        return True

    def units(self) -> dict[str, int] | None:
        return self._units


units = st.fixed_dictionaries({}, optional={name: st.integers(1, 10**6) for name in UNITS.values()})
parts = st.fixed_dictionaries({name: st.integers(0, 2_000_000) for name in PARTS})


@st.composite
def tables(draw: st.DrawFn) -> Price:
    """Prices of any kinds, tiers that are dearer, and lanes."""
    names = st.sampled_from([*TOKENS, *UNITS, "request"])
    known = draw(st.dictionaries(names, amounts, min_size=1))
    dearer = rates_of({name: value + draw(amounts) for name, value in known.items()})
    assert dearer is not None
    price = priced(known, tiers=((draw(st.integers(1, 10**6)), dearer),))
    lane = draw(st.none() | st.sampled_from(LANES))
    return price if lane is None else priced(known, lanes={lane: price})


@given(tables(), usages(), units, parts, st.none() | st.sampled_from(LANES))
def test_the_worst_is_no_less_than_what_any_answer_costs(price, usage, counted, kinds, tier):
    usage.details = {**counted, **{name: n for name, n in kinds.items() if n}}
    usage.tier = tier
    read, written = usage.input or 0, usage.output or 0
    worst = price.worst(read, written, tier, Holding(counted))
    assert (price.cost(usage) or 0) <= worst
    pure = Usage()
    for name in COUNTERS:
        setattr(pure, name, getattr(usage, name))
    pure.tier = tier
    pure.details = {name: n for name, n in kinds.items() if n and name.startswith("cache_write")}
    assert (price.cost(pure) or 0) <= price.worst(read, written, tier)


def test_what_is_priced_by_the_piece_is_held_by_the_piece():
    """Two pictures of a cent, and a million characters for 15 dollars."""
    assert priced({"image": 10**10}).worst(9, 0, parts=Holding({"images": 2})) == 2 * 10**7
    speech = priced({"character": 15 * 10**6})
    assert speech.worst(9, 0, parts=Holding({"input_characters": 1_000})) == 15 * 10**6
    assert speech.worst(9, 0) == 0


def test_sound_is_held_by_the_hour_and_for_no_less_than_its_least():
    heard = priced({"audio_hour": 36 * 10**10}, audio_ms_min=10_000)
    assert heard.worst(0, 0, parts=Holding({"input_audio_ms": 60_000})) == 6 * 10**6
    assert heard.worst(0, 0, parts=Holding({"input_audio_ms": 1})) == 10**6


def test_what_a_model_may_write_is_held_at_the_dearest_and_what_it_reads_by_what_it_is():
    price = priced({"input": 10**6, "output": 10**6, "input_audio": 10**7, "output_image": 10**8})
    assert price.worst(0, 10) == 10**6
    assert price.worst(10, 0) == 10_000
    assert price.worst(10, 0, parts=Holding()) == 100_000


def test_a_longer_cache_write_is_held_at_its_price():
    price = priced({"input": 10**6, "cache_write_1h": 2 * 10**6, "cache_write_12h": 3 * 10**6})
    assert price.worst(10, 0) == 30_000
