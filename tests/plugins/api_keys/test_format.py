"""A key is what it looks like: each wrong character is seen, and nothing else passes for one."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.api_keys.format import (
    ALPHABET,
    CHECK_CHARS,
    RANDOM_CHARS,
    checksum,
    digest_of,
    hint_of,
    is_sound,
    make,
    parse_digest,
)

PREFIXES = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
SIGNS = st.integers(0x21, 0x7E).map(lambda code: bytes([code]))


@given(PREFIXES)
def test_a_key_is_its_prefix_and_36_characters_and_is_sound(prefix):
    key = make(prefix)

    assert re.fullmatch(re.escape(prefix) + r"[0-9A-Za-z]{36}", key)
    assert is_sound(key.encode())


@given(PREFIXES, st.data())
def test_every_wrong_character_is_seen(prefix, data):
    key = make(prefix).encode()
    place = data.draw(st.integers(0, len(key) - 1))
    sign = data.draw(SIGNS.filter(lambda sign: sign != key[place : place + 1]))

    assert not is_sound(key[:place] + sign + key[place + 1 :])


def test_every_other_character_at_every_place_of_a_key_is_seen():
    key = make().encode()
    typos = [
        key[:place] + bytes([sign]) + key[place + 1 :]
        for place in range(len(key))
        for sign in ALPHABET
        if sign != key[place]
    ]

    assert len(typos) > 2_400
    assert not [typo for typo in typos if is_sound(typo)]


@given(st.binary(max_size=60))
def test_what_was_not_made_is_not_sound(text):
    assert not is_sound(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-1],
        lambda key: key[1:],
        lambda key: key + b"0",
        lambda key: key[6:] + key[:6],
        lambda key: key + b"\n",
        lambda key: b" " + key,
        lambda key: key.upper() if key.upper() != key else key.lower(),
        lambda key: key + key,
        lambda _: b"",
    ],
)
def test_a_key_that_is_cut_longer_or_turned_round_is_not_sound(change):
    assert not is_sound(change(make().encode()))


def test_two_neighbours_that_changed_places_are_seen():
    key = make().encode()
    for place in range(len(key) - 1):
        first, second = key[place : place + 1], key[place + 1 : place + 2]
        if first != second:
            assert not is_sound(key[:place] + second + first + key[place + 2 :])


def test_the_checksum_is_crc_32_in_base62():
    # Of "123456789", CRC-32's own check value is cbf43926, 3421780262.
    number = 0
    for sign in checksum(b"123456789"):
        number = number * 62 + ALPHABET.index(sign)
    assert number == 0xCBF43926
    assert len(checksum(b"")) == CHECK_CHARS
    assert checksum(b"") == b"000000"


def test_keys_differ_in_all_of_their_random_part():
    keys = {make("") for _ in range(500)}

    assert len(keys) == 500
    for place in range(RANDOM_CHARS):
        assert len({key[place] for key in keys}) > 40


def test_what_is_kept_is_the_sha_256():
    assert digest_of(b"a") == sha256(b"a").digest()
    assert parse_digest(sha256(b"a").hexdigest()) == sha256(b"a").digest()


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_what_is_no_digest_says_how_to_get_one(text):
    with pytest.raises(ValueError, match="weir keys hash"):
        parse_digest(text)


def test_a_hint_shows_both_ends():
    key = make("sk-")
    assert hint_of(key) == f"sk-...{key[-4:]}"
