"""Frames give the same messages however they are split; nothing is collected beyond its bound."""

from __future__ import annotations

import random
import zlib
from itertools import pairwise

import hypothesis
import hypothesis.strategies as st
import pytest

from gateway.websocket import Inflater, Reader
from tests.gateway.frames import BINARY, MASK, PING, PONG, TEXT, bye, frame, packed

Seen = list[tuple[str, bytes | None]]
KINDS = {"text": TEXT, "binary": BINARY}


def reader(
    *, is_masked: bool = False, bytes_max: int = 1 << 20, anew: bool | None = None
) -> tuple[Reader, Seen]:
    """Give a reader and what it will show. anew: of the compression, None for none."""
    seen: Seen = []
    inflater = None if anew is None else Inflater(anew=anew, bytes_max=bytes_max)
    made = Reader(
        is_masked=is_masked,
        show=lambda kind, data: seen.append((kind, data)),
        bytes_max=bytes_max,
        inflater=inflater,
    )
    return made, seen


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


def written(
    messages: list[tuple[str, bytes]], chance: random.Random, *, mask: bytes, anew: bool | None
) -> bytes:
    """Write messages as a peer may: in fragments, with pings between them, some compressed."""
    out = b""
    packer = zlib.compressobj(wbits=-15)
    for kind, message in messages:
        is_packed = anew is not None and chance.random() < 0.7
        if is_packed and anew:
            packer = zlib.compressobj(wbits=-15)
        sent = packed(message, packer) if is_packed else message
        parts = pieces(sent, [chance.randrange(100_000) for _ in range(chance.randrange(4))])
        parts = parts or [b""]
        for number, part in enumerate(parts):
            opcode = KINDS[kind] if not number else 0
            out += frame(
                opcode,
                part,
                mask=mask,
                fin=number == len(parts) - 1,
                packed=is_packed and not number,
            )
            if chance.random() < 0.3:
                out += frame(chance.choice((PING, PONG)), b"x" * chance.randrange(126), mask=mask)
    return out


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(["text", "binary"]),
        st.one_of(st.binary(max_size=300), st.sampled_from([b"ab" * 40_000, b"x" * 65_535])),
    ),
    max_size=6,
)


@hypothesis.given(
    MESSAGES, st.integers(), st.booleans(), st.sampled_from([None, False, True]), st.data()
)
def test_any_split_gives_the_same_messages(messages, seed, is_masked, anew, data):
    mask = MASK if is_masked else b""
    raw = written(messages, random.Random(seed), mask=mask, anew=anew) + bye(mask=mask)
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=30))
    made, seen = reader(is_masked=is_masked, anew=anew)
    skimming = Reader(is_masked=is_masked)
    for piece in pieces(raw, cuts):
        assert not made.is_closed
        made.feed(piece)
        skimming.feed(piece)
        assert (made.is_between, made.is_closed) == (skimming.is_between, skimming.is_closed)

    assert made.fault is None
    assert seen == messages
    assert made.is_closed
    assert made.is_between


def test_byte_by_byte():
    raw = written([("text", b"hello" * 40)], random.Random(1), mask=MASK, anew=False)
    made, seen = reader(is_masked=True, anew=False)
    between = 0
    for byte in raw:
        made.feed(bytes([byte]))
        between += made.is_between
        assert made.is_between or not made.is_between_messages

    assert seen == [("text", b"hello" * 40)]
    assert 0 < between < len(raw)


def test_what_follows_a_close_frame_is_nothing():
    made, seen = reader()
    made.feed(bye() + frame(TEXT, b"late"))
    made.feed(frame(TEXT, b"later"))

    assert made.is_closed
    assert not seen


def test_a_close_frame_that_is_not_whole_is_none_yet():
    made, _ = reader()
    made.feed(bye()[:-1])
    assert not made.is_closed
    made.feed(bye()[-1:])
    assert made.is_closed


def test_a_message_that_is_too_long_is_told_once_and_the_next_is_whole():
    made, seen = reader(bytes_max=100)
    made.feed(frame(TEXT, b"a" * 60, fin=False) + frame(0, b"a" * 60, fin=False))
    assert not made._pieces
    made.feed(frame(0, b"a" * 60) + frame(BINARY, b"b" * 100))

    assert seen == [("text", None), ("binary", b"b" * 100)]


@pytest.mark.parametrize("anew", [False, True])
def test_a_compressed_message_that_is_too_long_does_not_spoil_the_next(anew):
    made, seen = reader(bytes_max=100, anew=anew)
    packer = zlib.compressobj(wbits=-15)
    for message in (b"abc" * 100, b"abc" * 30):
        made.feed(frame(TEXT, packed(message, packer), packed=True))
        packer = zlib.compressobj(wbits=-15) if anew else packer

    assert seen == [("text", None), ("text", b"abc" * 30)]
    assert made.fault is None


def test_a_bomb_is_not_inflated_to_its_end():
    made, seen = reader(bytes_max=1000, anew=False)
    packer = zlib.compressobj(9, wbits=-15)
    bomb = packed(bytes(50_000_000), packer)
    made.feed(frame(BINARY, bomb, packed=True))
    made.feed(frame(BINARY, packed(b"x", packer), packed=True))
    made.feed(frame(BINARY, b"plain"))

    assert seen == [("binary", None), ("binary", None), ("binary", b"plain")]
    assert made._inflater is not None
    assert made._inflater._size < 1_000_000


def test_a_block_that_says_it_is_the_last_is_not():
    # RFC 7692 section 7.2.3.4.
    last = b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"
    made, seen = reader(anew=False)
    made.feed(frame(TEXT, last, packed=True) * 2)

    assert seen == [("text", b"Hello")] * 2


WRONG = {
    "unknown_opcode": frame(3, b"x"),
    "unknown_control": frame(11),
    "reserved_bit": b"\xa1\x01x",
    "compressed_without_an_agreement": frame(TEXT, b"x", packed=True),
    "continuation_of_nothing": frame(0, b"x"),
    "message_in_a_message": frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"),
    "split_ping": frame(PING, b"x", fin=False),
    "long_ping": frame(PING, b"x" * 126),
    "masked": frame(TEXT, b"x", mask=MASK),
}


@pytest.mark.parametrize("name", WRONG)
def test_frames_that_cannot_be_are_shown_no_more_and_followed_all_the_same(name):
    made, seen = reader()
    made.feed(frame(BINARY, b"before") + WRONG[name])
    assert made.fault is not None
    made.feed(frame(TEXT, b"after") + bye())

    assert seen == [("binary", b"before")]
    assert made.is_closed


def test_what_is_not_compressed_as_agreed_is_a_fault():
    made, seen = reader(anew=False)
    made.feed(frame(TEXT, b"\xff" * 10, packed=True) + bye())

    assert "compressed" in str(made.fault)
    assert not seen
    assert made.is_closed


def test_who_looks_away_is_shown_no_more():
    made, seen = reader(anew=False)
    made.feed(frame(TEXT, b"one", fin=False))
    made.look_away()
    made.feed(frame(0, b"two") + frame(TEXT, b"x", packed=True) + bye())

    assert not seen
    assert made.is_closed


def test_a_message_may_stand_between_messages_and_not_within_one():
    made, _ = reader()
    steps = [
        (frame(TEXT, b"one"), True),
        (frame(TEXT, b"tw", fin=False), False),
        (frame(PING), False),
        (frame(0, b"o"), True),
        (frame(PING), True),
    ]
    for raw, is_between in steps:
        made.feed(raw)
        assert made.is_between
        assert made.is_between_messages is is_between
