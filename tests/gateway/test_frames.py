"""Frames that we make are those that anybody would make."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest

from gateway.frames import close_frame, text_frame, unmasked
from tests.gateway.frames import CLOSE, MASK, TEXT, frame


@hypothesis.given(st.binary(max_size=40), st.binary(min_size=4, max_size=4), st.integers(0, 9))
def test_a_mask_goes_on_from_any_place(data, mask, place):
    whole = bytes(place) + data
    expected = bytes(byte ^ mask[at % 4] for at, byte in enumerate(whole))[place:]
    assert unmasked(data, mask, place) == expected


@pytest.mark.parametrize("mask", [b"", MASK])
def test_a_close_frame_of_ours_is_one(mask):
    assert close_frame(1001, mask=mask) == frame(CLOSE, b"\x03\xe9", mask=mask)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535])
def test_a_message_of_our_own_is_a_frame_like_any_other(size: int):
    assert text_frame(b"x" * size) == frame(TEXT, b"x" * size)
