"""What each origin saw is what the gateway accounted for: no shape makes two requests of one, in
whatever pieces it comes.
"""

from __future__ import annotations

import itertools
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.testing import RawCaller, RunningGateway, running_gateway
from tests.sizes import Sizes
from tests.whole.origins import Asked, Origin, counting_origins
from tests.whole.smuggling import BODIES, PROBE, SHAPES
from tests.whole.test_mutations import HANG_S, mutated

# Long enough for pieces on a busy machine; the mutants that wait for a deadline are few.
TIMEOUT = "1500ms"
LIMITS = dict.fromkeys(("header_timeout", "keepalive_timeout", "body_rate_grace"), TIMEOUT)
TIMES = dict.fromkeys(("first_byte_timeout", "idle_timeout"), TIMEOUT)
# How long a count may lag behind an answer.
SETTLE_S = 5.0
STAY_S = 0.03
# Between two pieces: long enough for the gateway to read the first alone, as long as it is idle.
PAUSE_S = 0.01
PIECES_MAX = 6
AT_ONCE = 48
GOOD = 200
NUMBER = re.compile(rb"(?<=/v1/)1\d{5}(?=/)")
# Writes down each exchange of which something was sent up, and nothing else.
ACCOUNTANT = '''
"""Writes a line for each exchange that went up: to whom, what came of it, and the target."""

import os

import msgspec

from gateway import hookimpl


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """path: Where lines go."""

    path: str


class Plugin:
    def __init__(self, config):
        self.file = os.open(config.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    @hookimpl
    def account(self, exchange):
        attempts = [one for one in exchange.attempts if one.sent_ns is not None]
        if attempts:
            name = exchange.provider.name.encode()
            words = (name, exchange.status or 0, attempts[-1].target.path)
            os.write(self.file, b"%b %d %b\\n" % words)
'''


# Gives the pieces in which a shape and what stands behind it are sent.
Cut = Callable[[bytes, bytes, random.Random], list[bytes]]


def at_once(shape: bytes, rest: bytes, dice: random.Random) -> list[bytes]:
    return [shape + rest]


def at_borders(shape: bytes, rest: bytes, dice: random.Random) -> list[bytes]:
    """Cut within the head, behind it, within the body, before its last byte, and behind it."""
    head = len(shape.partition(b"\r\n\r\n")[0]) + 4
    size = len(shape)
    return cut(shape + rest, {head // 2, head, (head + size) // 2, size - 1, size})


def anywhere(shape: bytes, rest: bytes, dice: random.Random) -> list[bytes]:
    whole = shape + rest
    return cut(whole, {dice.randrange(len(whole)) for _ in range(dice.randrange(1, PIECES_MAX))})


def cut(whole: bytes, places: set[int]) -> list[bytes]:
    borders = [0, *sorted(place for place in places if 0 < place < len(whole)), len(whole)]
    return [whole[begin:end] for begin, end in pairwise(borders)]


CUTS: tuple[Cut, ...] = (at_once, at_borders, anywhere)


@dataclass(frozen=True)
class Play:
    """A shape sent to one origin, cut in one way. number: stands in its targets."""

    number: bytes
    origin: Origin
    cut: Cut
    answers: bytes


class Story:
    """A gateway before five origins, and what both sides have counted."""

    def __init__(self, gateway: RunningGateway, origins: list[Origin], book: Path) -> None:
        self.gateway = gateway
        self.origins = origins
        self.book = book
        self.began = {origin.name: origin.count() for origin in origins}
        self.numbers = itertools.count(100_000)
        self.pool = ThreadPoolExecutor(AT_ONCE)

    def seen(self) -> dict[str, int]:
        return {origin.name: origin.count() - self.began[origin.name] for origin in self.origins}

    def lines(self) -> list[list[bytes]]:
        text = self.book.read_bytes() if self.book.exists() else b""
        return [line.split(b" ", 2) for line in text.splitlines()]

    def accounted(self) -> dict[str, int]:
        lines = Counter(name.decode() for name, _, _ in self.lines())
        return {origin.name: lines[origin.name] for origin in self.origins}

    def served(self, origin: Origin) -> Counter[bytes]:
        """Give the targets of what was accounted for as good, for that origin."""
        name, good = origin.name.encode(), b"%d" % GOOD
        return Counter(line[2] for line in self.lines() if line[:2] == [name, good])

    def settled(self) -> tuple[dict[str, int], dict[str, int]]:
        """Give both counts once they agree and stay, or as they are when they should have."""
        until = time.monotonic() + SETTLE_S
        last, counts = None, (self.seen(), self.accounted())
        while (counts[0] != counts[1] or counts != last) and time.monotonic() < until:
            time.sleep(STAY_S)
            last, counts = counts, (self.seen(), self.accounted())
        return counts

    def send(self, origin: Origin, raw: bytes, cut: Cut, seed: int) -> Future[Play]:
        """Send it there, a good request behind it, in pieces of that cut."""
        number = b"%d" % next(self.numbers)

        def play() -> Play:
            shape, probe = (self._named(part, origin, number) for part in (raw, PROBE))
            pieces = cut(shape, probe, random.Random(seed))
            with RawCaller(self.gateway.port, timeout_s=HANG_S) as caller:
                with suppress(ConnectionError):  # answered and closed before we were done
                    for place, piece in enumerate(pieces):
                        if place:
                            time.sleep(PAUSE_S)
                        caller.send(piece)
                return Play(number, origin, cut, caller.everything())

        return self.pool.submit(play)

    def _named(self, raw: bytes, origin: Origin, number: bytes) -> bytes:
        return raw.replace(b"AN-ORIGIN", origin.name.encode()).replace(b"A-PLAY", number)

    def asked(self) -> dict[bytes, list[Asked]]:
        """Give what came whole at the origins, by the number of its play, names and numbers taken
        out again.
        """
        found: dict[bytes, list[Asked]] = defaultdict(list)
        for origin in self.origins:
            for target, body in origin.asked():
                number = NUMBER.search(target)
                if number is not None:
                    found[number[0]].append(
                        (
                            target.replace(number[0], b"A-PLAY"),
                            body.replace(number[0], b"A-PLAY").replace(
                                origin.name.encode(), b"AN-ORIGIN"
                            ),
                        )
                    )
        return found


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("smuggling")
    (folder / "accountant.py").write_text(ACCOUNTANT)
    book = folder / "book"
    with counting_origins() as origins:
        providers = {
            origin.name: {"base_url": f"http://127.0.0.1:{origin.port}", **TIMES}
            for origin in origins
        }
        with running_gateway(
            {
                "providers": providers,
                "limits": LIMITS,
                "plugins": {"accountant": {"path": str(book)}},
            },
            plugins=[folder / "accountant.py"],
        ) as gateway:
            told = Story(gateway, origins, book)
            with told.pool:
                yield told
            assert gateway.crashes == []


def is_same(asked: list[Asked], longest: list[Asked]) -> bool:
    """Whether the same requests came, those left out that may be: what stands behind a chunked body
    and comes along with its end is not read, because the connection ends there.
    """
    return asked == longest[: len(asked)] and asked[:1] == longest[:1]


def without_probe(asked: list[Asked]) -> list[Asked]:
    """Leave out the good request behind a mutant: whether it is heard may depend on whether the
    mutant was whole when it was refused.
    """
    return [one for one in asked if not one[0].endswith(b"/probe")]


@dataclass(frozen=True)
class Told:
    """All shapes to all origins, cut in all ways. sent: how many requests went up, whole or not, by
    the number of the play. counts: at the origins, and accounted for.
    """

    plays: dict[str, list[Play]]
    asked: dict[bytes, list[Asked]]
    sent: Counter[bytes]
    counts: tuple[dict[str, int], dict[str, int]]


@pytest.fixture(scope="module")
def told(story: Story) -> Told:
    sent = {
        name: [
            story.send(origin, raw, cut, seed)
            for seed, origin in enumerate(story.origins)
            for cut in CUTS
        ]
        for name, raw in SHAPES.items()
    }
    plays = {name: [one.result() for one in all_of_it] for name, all_of_it in sent.items()}
    counts = story.settled()
    numbers = [NUMBER.search(target) for _, _, target in story.lines()]
    sent_up = Counter(number[0] for number in numbers if number is not None)
    return Told(plays, story.asked(), sent_up, counts)


def test_each_origin_sees_what_was_accounted_for(told):
    seen, accounted = told.counts

    assert seen == accounted
    assert min(seen.values()) > len(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_the_same_requests_to_all_in_whatever_pieces_it_comes(name, told):
    plays = told.plays[name]
    asked = [told.asked[play.number] for play in plays]
    longest = max(asked, key=len)

    assert all(is_same(one, longest) for one in asked), [*zip(plays, asked, strict=True)]
    assert {body for _, body in longest} <= BODIES
    assert len({told.sent[play.number] for play in plays if play.cut is at_once}) == 1
    assert all(play.answers.startswith(b"HTTP/1.1 ") for play in plays)


def test_mutations_of_them_are_seen_as_accounted_for_too(story, told, sizes: Sizes):
    before = sum(story.accounted().values())
    shapes = list(SHAPES.values())
    sent = []
    for number in range(sizes.smuggled):
        dice = random.Random(number)
        origin = story.origins[number % len(story.origins)]
        raw = mutated(dice, dice.choice(shapes))
        sent.append((raw, [story.send(origin, raw, cut, number) for cut in (at_once, anywhere)]))
    plays = [(raw, [one.result() for one in both]) for raw, both in sent]
    seen, accounted = story.settled()
    asked = story.asked()

    assert seen == accounted
    for raw, (first, second) in plays:
        both = [without_probe(asked[play.number]) for play in (first, second)]
        assert is_same(min(both, key=len), max(both, key=len)), (raw, first, second)
    # Some pass, some do not.
    assert sizes.smuggled / 5 < sum(accounted.values()) - before < sizes.smuggled * 4


def test_what_came_whole_is_what_was_accounted_for_as_good(story, told):
    for origin in story.origins:
        assert Counter(target for target, _ in origin.asked()) == story.served(origin)


def test_there_are_many_shapes_and_no_two_are_alike():
    assert len(set(SHAPES.values())) == len(SHAPES) >= 73
