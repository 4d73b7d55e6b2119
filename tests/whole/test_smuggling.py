"""What each origin saw is what the gateway accounted for: no shape makes two requests of one."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.testing import RunningGateway, exchange_bytes, running_gateway
from tests.sizes import Sizes
from tests.whole.origins import Origin, counting_origins
from tests.whole.smuggling import PROBE, SHAPES
from tests.whole.test_mutations import HANG_S, SHORT, TIMES, mutated

# How long a count may lag behind an answer.
SETTLE_S = 5.0
STAY_S = 0.03
# Writes down each exchange of which something was sent up, and nothing else.
ACCOUNTANT = '''
"""Writes a line for each exchange that went up."""

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
        if any(attempt.sent_ns is not None for attempt in exchange.attempts):
            os.write(self.file, exchange.provider.name.encode() + b"\\n")
'''


class Story:
    """A gateway before five origins, and what both sides have counted."""

    def __init__(self, gateway: RunningGateway, origins: list[Origin], book: Path) -> None:
        self.gateway = gateway
        self.origins = origins
        self.book = book
        self.began = {origin.name: origin.count() for origin in origins}

    def seen(self) -> dict[str, int]:
        return {origin.name: origin.count() - self.began[origin.name] for origin in self.origins}

    def accounted(self) -> dict[str, int]:
        lines = Counter(self.book.read_text().split()) if self.book.exists() else Counter()
        return {origin.name: lines[origin.name] for origin in self.origins}

    def settled(self) -> tuple[dict[str, int], dict[str, int]]:
        """Give both counts once they agree and stay, or as they are when they should have."""
        until = time.monotonic() + SETTLE_S
        last, counts = None, (self.seen(), self.accounted())
        while (counts[0] != counts[1] or counts != last) and time.monotonic() < until:
            time.sleep(STAY_S)
            last, counts = counts, (self.seen(), self.accounted())
        return counts

    def send(self, name: str, raw: bytes) -> bytes:
        """Send it to the origin of that name, a good request behind it, and give all answers."""
        whole = (raw + PROBE).replace(b"AN-ORIGIN", name.encode())
        return exchange_bytes(self.gateway.port, whole, timeout_s=HANG_S)


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
                "limits": SHORT,
                "plugins": {"accountant": {"path": str(book)}},
            },
            plugins=[folder / "accountant.py"],
        ) as gateway:
            yield Story(gateway, origins, book)
            assert gateway.crashes == []


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


@pytest.mark.parametrize("name", SHAPES)
def test_each_origin_sees_what_was_accounted_for(name, story, pool):
    before = story.accounted()
    sent = [pool.submit(story.send, origin.name, SHAPES[name]) for origin in story.origins]
    answers = [one.result() for one in sent]
    seen, accounted = story.settled()

    assert seen == accounted
    # Each origin was asked the same, whatever it made of it; and each caller was answered.
    assert len({accounted[one] - before[one] for one in accounted}) == 1, answers
    assert all(answer.startswith(b"HTTP/1.1 ") for answer in answers)


def test_mutations_of_them_are_seen_as_accounted_for_too(story, pool, sizes: Sizes):
    before = sum(story.accounted().values())
    shapes = list(SHAPES.values())

    def play(number: int) -> None:
        dice = random.Random(number)
        origin = story.origins[number % len(story.origins)]
        story.send(origin.name, mutated(dice, dice.choice(shapes)))

    for played in [pool.submit(play, number) for number in range(sizes.smuggled)]:
        played.result()
    seen, accounted = story.settled()

    assert seen == accounted
    # Some pass, some do not.
    assert sizes.smuggled / 10 < sum(accounted.values()) - before < sizes.smuggled * 2


def test_there_are_many_shapes_and_no_two_are_alike():
    assert len(set(SHAPES.values())) == len(SHAPES) >= 73
