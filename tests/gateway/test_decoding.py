"""What is packed comes out whole, however it is cut, in steps, and never short without a word."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decoding import INFLATE_STEP_BYTES, Decoder, Undecodable


def unpacked(coding: bytes, pieces: list[bytes]) -> list[bytes]:
    decoder, out = Decoder(coding), []
    for place, piece in enumerate(pieces, 1):
        decoder.push(piece, place == len(pieces))
        while (plain := decoder.step()) is not None:
            out.append(plain)
    assert decoder.is_over
    return out


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=4), st.integers(1, 40))
def test_members_and_cuts_make_no_difference(members: list[bytes], size: int) -> None:
    packed = b"".join(map(gzip.compress, members))
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]

    assert b"".join(unpacked(b"gzip", pieces)) == b"".join(members)


def test_it_comes_out_in_bounded_steps() -> None:
    out = unpacked(b"deflate", [zlib.compress(bytes(3 * INFLATE_STEP_BYTES))])

    assert max(map(len, out)) <= INFLATE_STEP_BYTES
    assert sum(map(len, out)) == 3 * INFLATE_STEP_BYTES


@pytest.mark.parametrize("packed", [gzip.compress(b"hello" * 100)[:-9], b"no gzip at all"])
def test_what_is_cut_or_broken_is_said(packed: bytes) -> None:
    with pytest.raises(Undecodable):
        unpacked(b"gzip", [packed])


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"compress", b"", b"gzip, gzip", b"identity"])
def test_only_what_the_standard_library_knows_is_unpacked(coding):
    assert not Decoder.knows(coding)
