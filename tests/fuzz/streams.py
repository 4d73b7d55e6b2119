"""Parsers of bytes that come in pieces: however they are torn, the meaning is the same."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from gateway.chunks import Chunks
from gateway.dialects import anthropic, gemini, openai, openai_responses
from gateway.dialects.loose import decode
from gateway.proxied import (
    SIGNATURE,
    V1_BYTES_MAX,
    V2_BYTES_MAX,
    BadHeader,
    caller_of,
    size_of,
)
from gateway.refusal import Refusal
from gateway.sse import Splitter
from gateway.websocket import Inflater, Reader
from tests.fuzz.mutants import single, torn
from tests.gateway.test_sse import dispatched

DIALECTS = (openai, openai_responses, anthropic, gemini)
# A bound that some inputs reach.
SMALL_BYTES_MAX = 48
LARGE_BYTES_MAX = 1 << 20
TRAILERS_MAX = 8


def sse(data: bytes) -> None:
    """Events are the standard's, the same for any tearing, and joined they are the input."""
    whole = split([data])
    assert split(torn(data)) == whole
    assert split(single(data)) == whole
    events, rest = whole
    assert b"".join(raw for raw, _, _ in events) + rest == data
    told = [(name, said) for _, name, said in events if said]
    if not rest.endswith(b"\n\r"):  # the next byte decides
        assert told == [pair for pair in dispatched(data) if pair[1]]
    raws, rest = bounded(data)
    assert b"".join(raws) + rest == data
    assert len(rest) <= SMALL_BYTES_MAX


def split(pieces: list[bytes]) -> tuple[list[tuple[bytes, bytes, bytes]], bytes]:
    splitter = Splitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    assert not splitter.overflowed
    return [(event.raw, event.name, event.data) for event in events], splitter.rest


def bounded(data: bytes) -> tuple[list[bytes], bytes]:
    splitter = Splitter(SMALL_BYTES_MAX)
    raws = [event.raw for piece in torn(data) for event in splitter.feed(piece)]
    return raws, splitter.rest


def dialects(data: bytes) -> None:
    """A reader of a format says something of any event and any document, and does not raise."""
    for event in Splitter().feed(data + b"\n\n"):
        document = decode(event.data)
        for dialect in DIALECTS:
            assert dialect.is_end(event) in (True, False)
            assert dialect.streams(document, event.name) in (True, False)
            assert isinstance(dialect.text(document), str)
            for told in (dialect.error_in(document), dialect.model(document, event.data)):
                assert told is None or isinstance(told, str)


def chunks(data: bytes) -> None:
    """A chunked body is the same for any tearing, or is refused in any."""
    whole = unchunked([data])
    assert unchunked(torn(data)) == whole
    assert unchunked(single(data)) == whole


def unchunked(pieces: list[bytes]) -> bytes | None:
    """Give the body as far as it came, None if it is refused."""
    parser = Chunks(TRAILERS_MAX, LARGE_BYTES_MAX)
    body = b""
    try:
        for piece in pieces:
            body += parser.feed(piece)
            if parser.complete:
                break
    except Refusal as refusal:
        status = refusal.status
        assert status in (400, 431)
        return None
    finally:
        parser.let_go()
    return body


def proxied(data: bytes) -> None:
    """A PROXY header's length is known once, and what it names is an address with a port."""
    size = None
    try:
        for end in range(1, min(len(data), V2_BYTES_MAX) + 1):
            now = size_of(data[:end])
            assert size is None or now == size
            size = now
    except BadHeader:
        # What is none in its beginning is none with more behind it.
        assert size is None
        assert all(is_bad(data[:more]) for more in range(end, min(len(data), end + 200) + 1))
        return
    assert size is None or size <= (V2_BYTES_MAX if data.startswith(SIGNATURE) else V1_BYTES_MAX)
    if size is None or size > len(data):
        return
    try:
        caller = caller_of(data[:size])
    except BadHeader:
        return
    if caller is not None:
        address, _, port = caller.rpartition(":")
        ipaddress.ip_address(address)
        assert 0 <= int(port) <= 65535
        again = b"PROXY TCP%d %b %b %b 1\r\n" % (
            6 if ":" in address else 4,
            *(address.encode(), address.encode(), port.encode()),
        )
        assert caller_of(again) == caller


def is_bad(start: bytes) -> bool:
    try:
        size_of(start)
    except BadHeader:
        return True
    return False


# -- WebSockets ------------------------------------------------------------------------------------

Shown = list[tuple[str, bytes | None]]


class Followed(NamedTuple):
    """What a reader told of some frames: the messages, and where it stands."""

    shown: Shown
    fault: str
    is_closed: bool
    is_between: bool


def websocket(data: bytes) -> None:
    """Frames mean the same for any tearing, and what another reader makes of them.

    The first byte says which direction it is (1), whether messages are packed (2), each anew (4),
    and whether the bound is small (8).
    """
    form, frames = (data[0], data[1:]) if data else (0, b"")
    whole = followed(form, [frames])
    for pieces in (torn(frames), single(frames)):
        other = followed(form, pieces)
        if form & 2 and form & 8:
            # A bomb that is no zlib either: which of it comes first is a matter of steps.
            assert other[2:] == whole[2:]
        else:
            assert other == whole
    bound = SMALL_BYTES_MAX if form & 8 else LARGE_BYTES_MAX
    assert all(len(message) <= bound for _, message in whole.shown if message is not None)
    if not form & 2:
        assert (whole.shown, bool(whole.fault), whole.is_closed) == plainly(frames, form, bound)


def followed(form: int, pieces: list[bytes]) -> Followed:
    shown: Shown = []
    bound = SMALL_BYTES_MAX if form & 8 else LARGE_BYTES_MAX
    reader = Reader(
        is_masked=bool(form & 1),
        show=lambda kind, message: shown.append((kind, message)),
        bytes_max=bound,
        inflater=Inflater(anew=bool(form & 4), bytes_max=bound) if form & 2 else None,
    )
    for piece in pieces:
        reader.feed(piece)
    fault = str(reader.fault or "")
    if form & 2:
        fault = fault.partition(":")[0]  # zlib's own words depend on where it stood
    return Followed(shown, fault, reader.is_closed, reader.is_between)


def plainly(data: bytes, form: int, bound: int) -> tuple[Shown, bool, bool]:
    """Read frames in the plainest way: messages, whether something is wrong, whether it is over."""
    shown: Shown = []
    is_closed = False
    is_wrong = False
    kind, message = 0, b""
    while len(data) >= 2:
        opcode, is_final, short = data[0] & 15, data[0] >= 128, data[1] & 127
        more = {126: 2, 127: 8}.get(short, 0)
        mask_bytes = 4 if data[1] & 128 else 0
        head = 2 + more + mask_bytes
        if len(data) < head:
            break
        size = int.from_bytes(data[2 : 2 + more], "big") if more else short
        mask = data[head - mask_bytes : head] or b"\0\0\0\0"
        payload = data[head : head + size]
        is_control = opcode >= 8
        is_wrong = is_wrong or bool(
            data[0] & 0x70
            or opcode not in (0, 1, 2, 8, 9, 10)
            or (mask_bytes > 0) != bool(form & 1)
            or (is_control and (not is_final or size > 125))
            or (not is_control and (opcode == 0) != (kind > 0))
        )
        if len(payload) < size:
            break
        data = data[head + size :]
        if opcode == 8:
            is_closed = True
            break
        if is_wrong or is_control:
            continue
        kind = kind or opcode
        message += bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        if is_final:
            told = message if len(message) <= bound else None
            shown.append(("text" if kind == 1 else "binary", told))
            kind, message = 0, b""
    return shown, is_wrong, is_closed
