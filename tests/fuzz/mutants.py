"""Inputs for a parser: the committed corpus, and what seeded dice make of it.

A folder of `corpus/` belongs to a target, a file in it is one input, byte for byte. Most were
written by hand after the format's specification; those called `found-...` are what a fuzzer guided
by coverage came to, or a fault that was reduced. Nothing here is random: the number of a mutant
makes it again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
# Longer ones cost time and find the same.
BYTES_MAX = 1024
# Signs that mean something in many formats.
SIGNS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"=", b'"', b"\\", b"/", b"?"),
    *(b"[", b"]", b"{", b"}", b".", b"..", b"%2e", b"%2F", b"#", b"*", b"-", b"_", b"'", b'"""'),
    *(b"0", b"1", b"9" * 20, b"-1", b"1e400", b"0x10", b"\x7f", b"\x80", b"\xff", b"\xef\xbb\xbf"),
    *("é\u2028\U0001f600".encode(), b"\\u0061", b"\\ud800", b"null", b"true", b"{}", b"[]"),
)

Target = Callable[[bytes], None]


def corpus(target: str) -> dict[str, bytes]:
    """Give the committed inputs of a target, by their file's name."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / target).iterdir())}


def mutants(target: str, count: int) -> Iterator[bytes]:
    """Give that many mutants of a target's corpus, always the same ones."""
    seeds = list(corpus(target).values())
    for number in range(count):
        yield mutant(random.Random(f"{target} {number}"), seeds)


def mutant(dice: random.Random, seeds: list[bytes]) -> bytes:
    """Take one of the inputs and spoil it once or a few times."""
    data = dice.choice(seeds)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
        at = dice.randrange(len(data) + 1)
        to = min(len(data), at + dice.choice((0, 1, 1, 2, 4, 16)))
        match dice.randrange(7):
            case 0:
                data = data[:at] + data[to:]
            case 1:
                data = data[:at] + dice.choice(SIGNS) + data[at:]
            case 2:
                data = data[:at] + dice.choice(SIGNS) + data[to:]
            case 3:
                data = data[:to] + data[at:]  # doubled
            case 4:
                other = dice.choice(seeds)
                data = data[:at] + other[dice.randrange(len(other) + 1) :]
            case 5 if at < to:
                data = data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
            case _:
                data = data[:at] + data[at:to] * dice.choice((2, 3, 50)) + data[to:]
    return data[:BYTES_MAX]


def tried(target: Target, data: bytes) -> None:
    """Give an input to a target; what goes wrong names the input."""
    try:
        target(data)
    except BaseException as error:
        error.add_note(f"input: {data!r}")
        raise


def dice_of(data: bytes) -> random.Random:
    """Give dice that belong to the input, for what a target has to choose."""
    return random.Random(data)


def torn(data: bytes) -> list[bytes]:
    """Tear an input into pieces, as a network may; its own dice say where."""
    dice = dice_of(data)
    cuts = {dice.randrange(len(data) + 1) for _ in range(dice.choice((1, 2, 5, 20)))}
    return [data[start:end] for start, end in pairwise(sorted({0, len(data), *cuts}))]


def single(data: bytes) -> list[bytes]:
    """Tear it into bytes."""
    return [data[at : at + 1] for at in range(len(data))]
