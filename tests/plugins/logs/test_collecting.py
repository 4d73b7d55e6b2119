"""What is kept of bodies is bounded, each and all together."""

from __future__ import annotations

import pytest

from gateway import Headers
from gateway.testing import exchange
from plugins.logs.collecting import (
    OVERLAP_BYTES,
    Collector,
    Side,
    Tally,
    credentials_of,
    kind_of_answer,
    side_of_request,
)


@pytest.mark.parametrize("step", [1, 7, 1000, 100_000])
def test_the_beginning_of_a_body_is_kept(step):
    tally = Tally(1_000_000)
    collector = Collector(tally, 100, b"text/plain")
    whole = bytes(n % 251 for n in range(20_000))
    for at in range(0, len(whole), step):
        collector(whole[at : at + step])
    kept = 100 + OVERLAP_BYTES
    assert collector.side() == Side(whole[:kept], b"text/plain", len(whole))
    assert tally.room == 1_000_000 - kept


def test_nothing_that_came_is_no_body():
    assert Collector(Tally(1000), 100, b"").side() is None


def test_all_bodies_together_are_bounded_and_one_has_no_gap():
    tally = Tally(2_000)
    first, second = Collector(tally, 10_000, b""), Collector(tally, 10_000, b"")
    first(b"x" * 1_500)
    second(b"y" * 600)
    second(b"z" * 10)
    first(b"x" * 400)
    assert tally.room == 100
    assert second.side() == Side(b"", b"", 610)
    tally.went += 1_900
    second(b"w")
    assert second.side() == Side(b"", b"", 611)
    assert tally.room == 2_000


def test_the_callers_credentials_are_known_and_words_are_none():
    asked = exchange(
        headers=Headers(
            [
                (b"Authorization", b"Bearer sk-callers-own"),
                (b"X-API-Key", b"short"),
                (b"x-goog-api-key", b"AIza-long-enough"),
                (b"X-Other", b"something-else"),
            ]
        )
    )
    assert credentials_of(asked) == (b"sk-callers-own", b"AIza-long-enough")


def test_a_request_that_nobody_read_has_no_body():
    asked = exchange()
    asked.body = None
    assert side_of_request(asked, 100) is None
    assert kind_of_answer(asked) == b""


def test_a_large_request_is_cut_and_its_size_is_known():
    asked = exchange(headers=Headers([(b"content-type", b"application/json")]))
    asked.body = b"x" * 10_000
    side = side_of_request(asked, 100)
    assert side == Side(b"x" * (100 + OVERLAP_BYTES), b"application/json", 10_000)
