"""A body on its way to the caller: what is written, in what order, and what is not."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from gateway import Event, Exchange, OwnFault, UpstreamFault
from gateway.decoding import Decoder
from gateway.relay import COPY_BYTES_MAX, LAST_CHUNK, Relay, Watched, Watching
from gateway.testing import chunk, chunked, exchange
from tests.gateway.ends import run

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
CUT = UpstreamFault("The upstream broke off.", code="upstream_cut")
DONE = b"data: [DONE]\n\n"


class Record:
    """The line and the caller: what a relay tells the one and writes to the other, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.is_full = False
        self.fills_up = False

    # -- the caller

    def write(self, data: bytes) -> None:
        self.told.append(("write", data))
        self.is_full = self.fills_up

    def writelines(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))

    @property
    def raw(self) -> bytes:
        return b"".join(data for what, data in self.told if what == "write")

    @property
    def body(self) -> bytes:
        return self.raw.removeprefix(HEAD)

    # -- the line

    def settle(self, outcome: str) -> None:
        if not self.outcomes:  # as the line does: the first word counts
            self.told.append(("settle", outcome))

    def tap_failed(self, tap: object, error: Exception) -> None:
        self.told.append(("tap_failed", tap))

    def rewriter_failed(self, rewriter: object, error: Exception) -> None:
        self.told.append(("rewriter_failed", rewriter))

    @property
    def outcomes(self) -> list[str]:
        return [outcome for what, outcome in self.told if what == "settle"]

    def said(self, *what: str) -> list[Any]:
        return [value for said, value in self.told if said in what]

    @property
    def order(self) -> list[str]:
        return [what for what, _ in self.told]


class Source:
    """The answer that a relay rests, wakes and aborts."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def abort(self) -> None:
        self.told.append("abort")


def asked(status: int | None = 200) -> Exchange:
    made = exchange()
    made.status = status
    return made


def plain(
    record: Record, *, made: Exchange | None = None, chunked: bool = True, source: Any = None
) -> Relay:
    return Relay(made or asked(), record, record, source, HEAD, chunked=chunked)


def watched(
    record: Record,
    *rewriters: Any,
    made: Exchange | None = None,
    source: Any = None,
    chunked: bool = True,
    upstream: Iterable[Any] = (),
    caller: Iterable[Any] = (),
    coding: bytes | None = None,
    events: bool = False,
    needs_marker: bool = False,
) -> Watched:
    decoder = None if coding is None else Decoder(coding)
    watching = Watching(
        list(upstream),
        list(caller),
        list(rewriters),
        decoder,
        events=events,
        needs_marker=needs_marker,
    )
    return Watched(made or asked(), record, record, source, HEAD, watching, chunked=chunked)


def fed(relay: Relay, *slices: bytes, last: bytes = b"") -> Relay:
    """Feed slices, then the last one with the end."""
    for data in slices:
        relay.feed(data, False)
    relay.feed(last, True)
    return relay


KINDS: list[Callable[..., Relay]] = [plain, watched]


# -- the plain way ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", KINDS)
def test_the_head_goes_out_with_the_first_slice_and_the_end_with_the_last(make):
    record = Record()
    fed(make(record), b"ab", b"c", last=b"d")

    assert record.said("write") == [
        HEAD + chunk(b"ab"),
        chunk(b"c"),
        chunk(b"d") + LAST_CHUNK,
    ]


@pytest.mark.parametrize("make", KINDS)
def test_a_sized_body_has_no_framing(make):
    record = Record()
    fed(make(record, chunked=False), b"ab", b"c", last=b"d")

    assert record.said("write") == [HEAD + b"ab", b"c", b"d"]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize(("is_chunked", "raw"), [(True, HEAD + LAST_CHUNK), (False, HEAD)])
def test_an_empty_body_is_the_head_and_the_end(make, is_chunked, raw):
    record = Record()
    fed(make(record, chunked=is_chunked))

    assert record.said("write") == [raw]


def test_nothing_is_written_for_the_end_of_a_sized_body_that_is_out():
    record = Record()
    fed(plain(record, chunked=False), b"ab")

    assert record.order == ["write", "settle"]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("size", [COPY_BYTES_MAX, COPY_BYTES_MAX + 1, COPY_BYTES_MAX * 5])
@pytest.mark.parametrize("is_chunked", [True, False])
def test_large_slices_are_framed_like_small_ones(make, size, is_chunked):
    record = Record()
    data = bytes(range(256)) * (size // 256 + 1)
    fed(make(record, chunked=is_chunked), data[:size], data[:size], last=data[:size])

    one = chunk(data[:size]) if is_chunked else data[:size]
    assert record.raw == HEAD + one * 3 + (LAST_CHUNK if is_chunked else b"")


@pytest.mark.parametrize("make", KINDS)
def test_flush_sends_the_head_once(make):
    record = Record()
    relay = make(record)
    relay.flush()
    relay.flush()
    fed(relay, b"ab")
    relay.flush()

    assert record.said("write") == [HEAD, chunk(b"ab"), LAST_CHUNK]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("is_chunked", [True, False])
def test_what_was_sent_is_counted_without_its_framing(make, is_chunked):
    made = asked()
    fed(make(Record(), made=made, chunked=is_chunked), b"ab", b"x" * 50_000, last=b"c")

    assert made.bytes_sent == 50_003


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("is_chunked", [True, False])
def test_settle_comes_before_the_last_slice_and_once(make, is_chunked):
    record = Record()
    relay = make(record, chunked=is_chunked)
    relay.feed(b"ab", False)
    assert record.outcomes == []
    relay.feed(b"c", True)

    assert record.order == ["write", "settle", "write"]
    assert (relay.is_over, relay.fault, record.outcomes) == (True, None, ["complete"])


@pytest.mark.parametrize(
    ("status", "own", "outcome"),
    [
        (200, None, "complete"),
        (304, None, "complete"),
        (399, None, "complete"),
        (400, None, "provider_error"),
        (500, None, "provider_error"),
        (None, None, "complete"),
        (200, "cached", "cached"),
        (429, "refused", "refused"),
    ],
)
def test_a_whole_answer_counts_as_its_status_or_its_maker_says(status, own, outcome):
    record = Record()
    relay = plain(record, made=asked(status))
    relay.outcome = own
    fed(relay)

    assert record.outcomes == [outcome]


# -- endings that are none -------------------------------------------------------------------------


@pytest.mark.parametrize("make", KINDS)
def test_an_upstream_that_breaks_off_is_not_completed(make):
    record = Record()
    relay = make(record)
    relay.feed(b"ab", False)
    relay.fail(CUT)

    assert record.said("write") == [HEAD + chunk(b"ab")]
    assert record.outcomes == ["truncated"]
    assert (relay.is_over, relay.fault) == (True, CUT)


@pytest.mark.parametrize("make", KINDS)
def test_a_head_that_was_still_here_goes_out_before_the_cut(make):
    record = Record()
    make(record).fail(CUT)

    assert record.said("write") == [HEAD]


@pytest.mark.parametrize("make", KINDS)
def test_after_the_end_nothing_more_happens(make):
    for end in (
        fed,
        lambda relay: relay.fail(CUT),
        lambda relay: relay.stop("stopped", b"", CUT),
        lambda relay: relay.stop("stopped", b"tail", CUT),
    ):
        record = Record()
        relay = make(record)
        relay.feed(b"ab", False)
        end(relay)
        told, fault = list(record.told), relay.fault
        relay.feed(b"c", False)
        relay.feed(b"d", True)
        relay.fail(CUT)
        relay.stop("stopped", b"tail", CUT)
        relay.abandon(CUT, "failed")
        relay.flush()

        assert record.told == told
        assert relay.fault is fault


@pytest.mark.parametrize("make", KINDS)
def test_to_stop_with_a_tail_is_a_whole_ending_of_our_own(make):
    record, source = Record(), Source()
    relay = make(record, source=source)
    relay.feed(b"ab", False)
    relay.stop("stopped", b"tail", CUT)

    assert record.told[1:] == [("settle", "stopped"), ("write", chunk(b"tail") + LAST_CHUNK)]
    assert (relay.is_over, relay.fault, source.told) == (True, None, ["abort"])


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize(("is_chunked", "tail"), [(True, b""), (False, b""), (False, b"tail")])
def test_to_stop_without_a_tail_or_before_a_promised_length_is_a_cut(make, is_chunked, tail):
    record, source = Record(), Source()
    relay = make(record, source=source, chunked=is_chunked)
    relay.feed(b"ab", False)
    before = record.raw
    relay.stop("stopped", tail, CUT)

    assert record.raw == before
    assert (record.outcomes, relay.fault, source.told) == (["stopped"], CUT, ["abort"])


def test_to_stop_before_the_first_slice_sends_the_head_along():
    record = Record()
    plain(record).stop("stopped", b"tail", CUT)

    assert record.raw == HEAD + chunked(b"tail")


def test_to_stop_a_watched_answer_leaves_out_what_its_rewriter_held_back():
    record = Record()
    relay = watched(record, Held())
    relay.feed(b"secret", False)
    relay.stop("stopped", b"tail", CUT)

    assert record.raw == HEAD + chunked(b"tail")


# -- resting and waiting ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", KINDS)
def test_the_upstream_rests_while_the_caller_is_full(make):
    record, source = Record(), Source()
    relay = make(record, source=source)
    relay.feed(b"ab", False)
    assert source.told == []
    record.fills_up = True
    relay.feed(b"cd", False)
    assert source.told == ["pause"]
    record.is_full = record.fills_up = False
    relay.drained()
    assert source.told == ["pause", "resume"]


def test_an_answer_without_an_upstream_rests_nobody():
    record = Record()
    record.fills_up = True
    relay = plain(record)
    relay.feed(b"ab", False)
    relay.drained()
    fed(relay)

    assert record.raw == HEAD + chunked(b"ab")


def test_one_waits_for_room_until_there_is_some():
    async def story() -> list[str]:
        order = []
        record = Record()
        record.is_full = True
        relay = plain(record)

        async def waits() -> None:
            await relay.room()
            order.append("room")

        task = asyncio.ensure_future(waits())
        await asyncio.sleep(0)
        relay.drained()  # full again by the time that the waiter hears of it
        await asyncio.sleep(0.01)
        order.append("still full")
        record.is_full = False
        relay.drained()
        await task
        await relay.room()
        return order

    assert run(story()) == ["still full", "room"]


@pytest.mark.parametrize("end", ["feed", "fail", "stop"])
def test_one_waits_for_the_end_whatever_it_is(end):
    async def story() -> bool:
        relay = plain(Record())
        task = asyncio.ensure_future(relay.over())
        await asyncio.sleep(0.01)
        waited = not task.done()
        if end == "feed":
            relay.feed(b"", True)
        elif end == "fail":
            relay.fail(CUT)
        else:
            relay.stop("stopped", b"", CUT)
        await task
        await relay.over()
        return waited

    assert run(story())


# -- rewriters -------------------------------------------------------------------------------------


class Marks:
    """Puts a mark behind each slice and one at the end."""

    def __init__(self, mark: bytes) -> None:
        self.mark = mark

    def feed(self, data: bytes) -> bytes:
        return data + self.mark

    def end(self) -> bytes:
        return b"(end%b)" % self.mark


class Held:
    """Gives everything at the end."""

    def __init__(self) -> None:
        self.data = b""

    def feed(self, data: bytes) -> bytes:
        self.data += data
        return b""

    def end(self) -> bytes:
        return self.data


class Same:
    """Changes nothing, as bytes."""

    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""


class SameEvents:
    """Changes nothing, event by event."""

    def event(self, event: Event) -> Iterable[Event]:
        return [event]

    def end(self) -> bytes:
        return b""


class Doubled(SameEvents):
    """Sends each event twice, except those that say "drop"."""

    def event(self, event: Event) -> Iterable[Event]:
        return [] if event.data == b"drop" else (event, event)

    def end(self) -> bytes:
        return b"data: end\n\n"


class Upper:
    def feed(self, data: bytes) -> bytes:
        return data.upper()

    def end(self) -> bytes:
        return b""


def test_rewriters_pass_slice_and_end_on_to_each_other():
    record = Record()
    fed(watched(record, Marks(b"1"), Marks(b"2")), b"a", last=b"b")

    assert record.body == chunk(b"a12") + chunk(b"b1(end1)2(end2)") + LAST_CHUNK


def test_a_rewriter_that_gives_nothing_ends_nothing():
    """An empty chunk would be the last one."""
    record = Record()
    relay = watched(record, Held())
    relay.feed(b"ab", False)
    relay.flush()
    relay.feed(b"cd", False)
    assert record.raw == HEAD
    relay.feed(b"", True)

    assert record.body == chunked(b"abcd")


def test_an_empty_body_has_an_end_for_its_rewriter_too():
    record = Record()
    fed(watched(record, Marks(b"1")))

    assert record.body == chunked(b"(end1)")


def test_events_are_dropped_multiplied_and_added():
    record = Record()
    relay = watched(record, Doubled(), events=True)
    fed(relay, b"data: a\n\ndata: drop\n\nda", b"ta: b\n\n: ping\n\n")

    assert record.body == chunked(
        b"data: a\n\n" * 2,
        b"data: b\n\n" * 2 + b": ping\n\n" * 2,
        b"data: end\n\n",
    )


def test_an_event_goes_out_as_soon_as_it_is_whole():
    record = Record()
    relay = watched(record, SameEvents(), events=True)
    relay.feed(b"data: a\n", False)
    assert record.body == b""
    relay.feed(b"\ndata: b", False)

    assert record.body == chunk(b"data: a\n\n")


def test_the_unfinished_rest_of_a_whole_answer_goes_through_the_rewriter():
    record = Record()
    fed(watched(record, Doubled(), events=True), b"data: a\n\ndata: b")

    assert record.body == chunked(b"data: a\n\n" * 2, b"data: b" * 2 + b"data: end\n\n")


@pytest.mark.parametrize(
    "rewriters",
    [
        [Upper(), Doubled()],
        [Doubled(), Upper()],
        [Same(), SameEvents(), Upper(), SameEvents(), Doubled(), Same()],
    ],
)
def test_rewriters_of_bytes_and_of_events_stand_in_one_chain(rewriters):
    record = Record()
    relay = watched(record, *rewriters, events=True)
    fed(relay, b"event: x\nda", b"ta: a\n\nevent: y\ndata: b\n\n")
    body = record.body

    assert body.endswith(LAST_CHUNK)
    text = b"".join(_pieces(body)).lower()
    assert text == (b"event: x\ndata: a\n\n" * 2 + b"event: y\ndata: b\n\n" * 2 + b"data: end\n\n")


def _pieces(raw: bytes) -> list[bytes]:
    """Take the chunks of a whole body apart."""
    pieces = []
    while raw:
        line, _, rest = raw.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            assert rest == b"\r\n"
            break
        pieces.append(rest[:size])
        assert rest[size : size + 2] == b"\r\n"
        raw = rest[size + 2 :]
    else:
        raise AssertionError("no last chunk")
    return pieces


def test_what_a_rewriter_of_bytes_makes_is_split_anew_for_the_next():
    class Joined(Same):
        def feed(self, data: bytes) -> bytes:
            return data.replace(b"\n\n", b"\n")

    seen = []

    class Sees(SameEvents):
        def event(self, event: Event) -> Iterable[Event]:
            seen.append(event.data)
            return [event]

    record = Record()
    fed(watched(record, Joined(), Sees(), events=True), b"data: a\n\ndata: b\n\n")

    assert seen == [b"a\nb"]


def test_a_rewriter_of_events_lets_a_body_without_events_pass():
    record = Record()
    fed(watched(record, Doubled()), b'{"a": 1}')

    assert record.body == chunked(b'{"a": 1}')


BODIES = st.lists(
    st.sampled_from(
        [b"data: a\n\n", b"\r\n\r\n", b"\n", b"\r", b"data: ", b"\xff\x00", b": ping\n\n", DONE]
    )
    | st.binary(max_size=20),
    max_size=12,
).map(b"".join)
CHAINS = st.lists(st.sampled_from([Same, SameEvents]), max_size=4)


@hypothesis.given(BODIES, st.lists(st.integers(0, 60), max_size=8), CHAINS, st.booleans())
def test_who_changes_nothing_changes_nothing(body, cuts, chain, events):
    edges = sorted({0, len(body), *(min(cut, len(body)) for cut in cuts)})
    slices = [body[start:end] for start, end in pairwise(edges)]
    record = Record()
    seen: list[bytes] = []
    sent: list[bytes] = []
    made = [make() for make in chain]
    relay = watched(record, *made, upstream=[seen.append], caller=[sent.append], events=events)
    fed(relay, *slices)

    assert b"".join(_pieces(record.body)) == b"".join(seen) == b"".join(sent) == body
    assert record.outcomes == ["complete"]


# -- rewriters that fail ---------------------------------------------------------------------------


class Fails:
    """Raises at the second thing that it is given, or at the end."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.count = 0

    def _at(self) -> None:
        self.count += 1
        if self.count == 2 and self.where != "end":
            raise LookupError("on purpose")

    def end(self) -> bytes:
        if self.where == "end":
            raise LookupError("on purpose")
        return b""


class FailsOnBytes(Fails):
    def feed(self, data: bytes) -> bytes:
        self._at()
        return data


class FailsOnEvents(Fails):
    def event(self, event: Event) -> Iterable[Event]:
        self._at()
        return [event]


@pytest.mark.parametrize("where", ["middle", "end"])
@pytest.mark.parametrize("kind", [FailsOnBytes, FailsOnEvents])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_rewriter_that_raises_cuts_the_answer_where_it_was(where, kind, is_first):
    record, source, fails = Record(), Source(), kind(where)
    chain = [fails, Same()] if is_first else [Same(), fails]
    relay = watched(record, *chain, source=source, events=True)
    relay.feed(b"data: a\n\n", False)
    relay.feed(b"data: b\n\n", where == "end")

    assert record.body == chunk(b"data: a\n\n")
    assert record.said("rewriter_failed") == [fails]
    assert (record.outcomes, source.told) == (["truncated"], ["abort"])
    assert isinstance(relay.fault, OwnFault)
    assert "purpose" not in relay.fault.message


@pytest.mark.parametrize("bad", ["text", None, [b"bytes"]])
def test_a_rewriter_that_gives_no_bytes_cuts_the_answer(bad):
    class Bad(Same):
        def feed(self, data: bytes) -> Any:
            return bad

    record, made = Record(), Bad()
    relay = watched(record, made)
    relay.feed(b"a", False)

    assert record.raw == HEAD
    assert record.said("rewriter_failed") == [made]
    assert relay.is_over


def test_an_unfinished_event_that_a_rewriter_waited_for_does_not_go_out_with_a_cut():
    record = Record()
    relay = watched(record, Doubled(), events=True)
    relay.feed(b"data: a\n\ndata: b", False)
    relay.fail(CUT)

    assert record.body == chunk(b"data: a\n\n" * 2)


def test_without_a_rewriter_even_half_an_event_goes_out_before_a_cut():
    record = Record()
    relay = watched(record, upstream=[Events()], events=True)
    relay.feed(b"data: a\n\ndata: b", False)
    relay.fail(CUT)

    assert record.body == chunk(b"data: a\n\ndata: b")


# -- taps ------------------------------------------------------------------------------------------


class Events:
    """A tap that keeps the events."""

    def __init__(self, fails_at: bytes | None = None) -> None:
        self.seen: list[bytes] = []
        self.fails_at = fails_at

    def event(self, event: Event) -> None:
        self.seen.append(event.raw)
        if event.data == self.fails_at:
            raise LookupError("on purpose")


def test_taps_see_what_came_and_what_is_sent_before_it_is_written():
    record = Record()
    relay = watched(
        record,
        Upper(),
        upstream=[lambda data: record.told.append(("upstream", data))],
        caller=[lambda data: record.told.append(("caller", data))],
    )
    fed(relay, b"ab", last=b"c")

    assert record.told == [
        ("upstream", b"ab"),
        ("caller", b"AB"),
        ("write", HEAD + chunk(b"AB")),
        ("upstream", b"c"),
        ("caller", b"C"),
        ("settle", "complete"),
        ("write", chunk(b"C") + LAST_CHUNK),
    ]


def test_taps_see_events_on_both_sides():
    record, came, sent = Record(), Events(), Events()
    relay = watched(record, Doubled(), upstream=[came], caller=[sent], events=True)
    fed(relay, b"data: a\n\nda", b"ta: drop\n\n", last=b"data: b")

    assert came.seen == [b"data: a\n\n", b"data: drop\n\n", b"data: b"]
    assert b"".join(sent.seen) == b"".join(_pieces(record.body))
    assert sent.seen[:2] == [b"data: a\n\n"] * 2


def test_a_tap_sees_the_events_that_a_rewriter_of_bytes_sends():
    record, sent = Record(), Events()
    relay = watched(record, Upper(), caller=[sent], events=True)
    fed(relay, b"data: a\n\nda", b"ta: b\n\n")

    assert sent.seen == [b"DATA: A\n\n", b"DATA: B\n\n"]


def test_a_tap_is_not_called_for_nothing():
    record = Record()
    seen: list[bytes] = []
    fed(watched(record, Held(), upstream=[seen.append], caller=[seen.append]), b"a", last=b"")

    assert seen == [b"a", b"a"]


@pytest.mark.parametrize("side", ["upstream", "caller"])
def test_a_tap_that_raises_is_dropped_and_told_of_once_and_the_bytes_flow(side):
    record = Record()
    seen: list[bytes] = []

    def fails(data: bytes) -> None:
        raise LookupError("on purpose")

    taps: dict[str, Any] = {side: [fails, seen.append]}
    fed(watched(record, **taps), b"a", b"b", last=b"c")

    assert record.said("tap_failed") == [fails]
    assert seen == [b"a", b"b", b"c"]
    assert (record.body, record.outcomes) == (chunked(b"a", b"b", b"c"), ["complete"])


def test_a_tap_that_raises_hears_no_further_event_of_the_same_slice():
    record, fails, other = Record(), Events(fails_at=b"b"), Events()
    relay = watched(record, upstream=[fails, other], events=True)
    fed(relay, b"data: a\n\ndata: b\n\ndata: c\n\n", b"data: d\n\n")

    assert fails.seen == [b"data: a\n\n", b"data: b\n\n"]
    assert len(other.seen) == 4
    assert record.said("tap_failed") == [fails]


# -- the end marker --------------------------------------------------------------------------------


def test_settle_comes_before_the_event_that_carries_the_end_marker_and_once():
    record, made = Record(), asked()
    relay = watched(record, made=made, events=True)
    relay.feed(b"data: {}\n\n", False)
    assert (record.outcomes, made.end_marker_seen) == ([], False)
    relay.feed(DONE, False)
    relay.feed(b": bye\n\n", False)
    relay.feed(b"", True)

    assert record.order == ["write", "settle", "write", "write", "write"]
    assert (record.outcomes, made.end_marker_seen) == (["complete"], True)


def test_a_marker_that_comes_in_two_pieces_is_settled_before_the_second():
    record = Record()
    relay = watched(record, events=True)
    relay.feed(DONE[:-1], False)
    assert record.outcomes == []
    relay.feed(DONE[-1:], False)

    assert record.order == ["write", "settle", "write"]


def test_with_a_rewriter_settle_comes_before_what_it_made_of_the_marker():
    record = Record()
    relay = watched(record, Doubled(), events=True)
    relay.feed(b"data: {}\n\n" + DONE, False)

    assert record.order == ["settle", "write"]


def test_a_rewriter_that_fails_on_the_marker_makes_no_complete_answer():
    record = Record()
    relay = watched(record, FailsOnEvents("middle"), events=True)
    relay.feed(b"data: {}\n\n" + DONE, False)

    assert (record.outcomes, record.raw) == (["truncated"], HEAD)
    assert relay.fault is not None


GEMINI = b"models/g:streamGenerateContent"
FINISH = b'data: {"candidates": [{"finishReason": "STOP"}]}\n\n'


def test_where_more_may_come_behind_an_end_the_bodys_own_end_settles():
    record, made = Record(), exchange(path=GEMINI, provider="google-ai-studio")
    relay = watched(record, made=made, events=True)
    relay.feed(FINISH, False)
    assert (record.outcomes, made.end_marker_seen) == ([], True)
    relay.feed(b'data: {"usageMetadata": {}}\n\n', False)
    assert record.outcomes == []
    relay.feed(b"", True)

    assert record.order == ["write", "write", "settle", "write"]
    assert record.outcomes == ["complete"]


def test_and_where_it_is_torn_there_it_is_a_cut():
    record = Record()
    relay = watched(record, made=exchange(path=GEMINI, provider="google-ai-studio"), events=True)
    relay.feed(FINISH, False)
    relay.fail(CUT)

    assert (record.outcomes, relay.fault) == (["truncated"], CUT)


def test_but_behind_an_error_nothing_comes():
    record = Record()
    relay = watched(record, made=exchange(path=GEMINI, provider="google-ai-studio"), events=True)
    fed(relay, FINISH, b'data: {"error": {"code": 503}}\n\n')

    assert record.order == ["write", "settle", "write", "write"]
    assert record.outcomes == ["provider_error"]


def test_an_upstream_that_dies_behind_its_marker_is_cut_for_the_caller_all_the_same():
    record = Record()
    relay = watched(record, events=True)
    relay.feed(DONE, False)
    relay.fail(CUT)

    assert record.body == chunk(DONE)
    assert (record.outcomes, relay.fault) == (["complete"], CUT)


def test_without_events_nobody_knows_of_a_marker():
    made = asked()
    fed(watched(Record(), Same(), made=made), DONE)

    assert made.end_marker_seen is None


@pytest.mark.parametrize("rewriters", [[], [Same()], [SameEvents()]])
def test_a_stream_that_only_its_marker_can_end_is_a_cut_without_it(rewriters):
    record = Record()
    relay = watched(record, *rewriters, events=True, needs_marker=True)
    fed(relay, b"data: {}\n\n", last=b"data: half")

    assert b"".join(record.said("write")).startswith(HEAD + chunk(b"data: {}\n\n"))
    assert not record.raw.endswith(LAST_CHUNK)
    assert record.outcomes == ["truncated"]
    assert isinstance(relay.fault, UpstreamFault)


@pytest.mark.parametrize("rewriters", [[], [Same()], [SameEvents()]])
@pytest.mark.parametrize("last", [b"", DONE])
def test_and_whole_with_it(rewriters, last):
    record = Record()
    relay = watched(record, *rewriters, events=True, needs_marker=True)
    fed(relay, b"data: {}\n\n", *([] if last else [DONE]), last=last)

    assert b"".join(_pieces(record.body)) == b"data: {}\n\n" + DONE
    assert (record.outcomes, relay.fault) == (["complete"], None)


# -- compressed answers ----------------------------------------------------------------------------

TEXT = b"data: {}\n\n" * 50 + DONE
CODINGS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"x-gzip": gzip.compress,
    b"deflate": zlib.compress,
}


def sliced(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("coding", CODINGS)
def test_watchers_see_an_answer_plain_and_the_caller_gets_it_as_it_came(coding, size):
    record, events = Record(), Events()
    seen: list[bytes] = []
    packed = CODINGS[coding](TEXT)
    relay = watched(record, upstream=[seen.append, events], coding=coding, events=True)
    fed(relay, *sliced(packed, size))

    assert b"".join(_pieces(record.body)) == packed
    assert b"".join(seen) == b"".join(events.seen) == TEXT
    assert record.outcomes == ["complete"]


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_rewriter_reads_and_sends_an_answer_plain(coding, size):
    record = Record()
    relay = watched(record, Upper(), coding=coding)
    fed(relay, *sliced(CODINGS[coding](TEXT), size))

    assert b"".join(_pieces(record.body)) == TEXT.upper()


def test_an_answer_packed_in_several_members_is_read_whole():
    """RFC 1952 section 2.2: a gzip file is one member or several, one after the other."""
    packed = gzip.compress(b"one ") + gzip.compress(b"two ") + gzip.compress(b"three")
    for size in (1, 5, 1000):
        record = Record()
        fed(watched(record, Same(), coding=b"gzip"), *sliced(packed, size))
        assert b"".join(_pieces(record.body)) == b"one two three"


@pytest.mark.parametrize("coding", CODINGS)
def test_a_packed_answer_that_lacks_its_end_is_not_made_to_look_whole(coding):
    """The caller could have told it from the packed bytes; unpacked it cannot."""
    record = Record()
    relay = watched(record, Same(), coding=coding)
    fed(relay, CODINGS[coding](TEXT)[:-6])

    assert not record.raw.endswith(LAST_CHUNK)
    assert record.outcomes == ["truncated"]
    assert relay.fault is not None


def test_a_packed_answer_without_a_byte_is_empty():
    """Servers send that with a 200 to a request that they had nothing to say to."""
    record = Record()
    fed(watched(record, Same(), coding=b"gzip"))

    assert record.body == LAST_CHUNK


def test_an_answer_that_is_not_packed_as_it_says_is_cut_for_a_rewriter():
    record, source = Record(), Source()
    relay = watched(record, Same(), coding=b"gzip", source=source)
    relay.feed(b"this is no gzip", False)

    assert record.raw == HEAD
    assert (record.outcomes, source.told) == (["truncated"], ["abort"])


def test_and_passes_where_it_is_only_watched():
    record, events = Record(), Events()
    seen: list[bytes] = []
    relay = watched(record, upstream=[seen.append], caller=[events], coding=b"gzip", events=True)
    fed(relay, b"this is ", b"no gzip")

    assert record.body == chunked(b"this is ", b"no gzip")
    assert record.outcomes == ["complete"]
    assert len(record.said("tap_failed")) == 2
    assert seen == events.seen == []


@pytest.mark.parametrize("is_rewritten", [False, True])
def test_a_few_bytes_never_become_many_megabytes_at_once(is_rewritten):
    class Drops(Same):
        def feed(self, data: bytes) -> bytes:
            return b""

    bomb = gzip.compress(b"\0" * 64_000_000)
    assert len(bomb) < 70_000
    relay = watched(Record(), *([Drops()] if is_rewritten else []), upstream=[len], coding=b"gzip")
    tracemalloc.start()
    try:
        fed(relay, bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 8_000_000
