"""Bodies that have broken proxies, each made from its number, the same at both ends of a test."""

from __future__ import annotations

import gzip
import itertools
import random
from dataclasses import dataclass

from gateway.testing import Visit, chunk, head

LINE_ENDS = (b"\n", b"\r\n", b"\r")
# What a line may hold: text cut by decoders, bytes that are no text, and what looks like framing.
WORDS = (
    b'data: {"choices":[{"delta":{"content":"hi"}}]}',
    b"data:",
    b"data",
    b"event: ping",
    b"id: 7",
    b"retry: 100",
    b": a comment",
    b":",
    b"data: \xe2\x80\xa8 and \xe2\x80\xa9 and \xc2\x85",  # U+2028, U+2029, U+0085
    b"data: \xf0\x9f\x8c\x8a\xf0\x9f\x8c\x8a",  # two waves of four bytes each
    b"data: \x00\x00\x00",
    b"data: \xff\xfe\xc3\x28\xed\xa0\x80",  # no UTF-8
    b"\xef\xbb\xbfdata: a BOM in the middle",
    b"0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"data: [DONE]",
)
FRAMINGS = ("sized", "chunked", "closed")
LARGEST_BYTES = 1_000_000


@dataclass(frozen=True)
class Body:
    """content: what must arrive. pieces: how it is cut up on its way. framing: one of FRAMINGS."""

    content: bytes
    pieces: tuple[bytes, ...]
    framing: str
    fields: tuple[tuple[bytes, bytes], ...]


def body_of(number: int) -> Body:
    """Make the body of that number."""
    dice = random.Random(number)
    framing = dice.choice(FRAMINGS)
    content = _content(dice)
    fields: list[tuple[bytes, bytes]] = []
    if dice.random() < 0.2:
        content = gzip.compress(content, mtime=0)
        fields.append((b"Content-Encoding", b"gzip"))
    # A stream of events that ends with its connection is only whole with its end marker, and that
    # is another story; so those are called something else.
    kinds = [b"application/octet-stream"]
    if framing != "closed":
        kinds.append(b"text/event-stream")
    fields.append((b"Content-Type", dice.choice(kinds)))
    return Body(content, _pieces(dice, content), framing, tuple(fields))


def send_body(visit: Visit, body: Body) -> None:
    """Answer with it, as it is framed and cut up."""
    if body.framing == "sized":
        visit.send(head(200, *body.fields, (b"Content-Length", b"%d" % len(body.content))))
        visit.send(*body.pieces)
    elif body.framing == "chunked":
        visit.send(head(200, *body.fields, (b"Transfer-Encoding", b"chunked")))
        visit.send(*map(chunk, body.pieces), chunk(b""))
    else:
        visit.send(head(200, *body.fields, (b"Connection", b"close")), *body.pieces)
        visit.close_notify()


def _content(dice: random.Random) -> bytes:
    if dice.random() < 0.1:
        return dice.randbytes(_size(dice))
    lines = [b"\xef\xbb\xbf"] if dice.random() < 0.2 else []
    for _ in range(dice.randrange(1, 40)):
        lines += [dice.choice(WORDS), dice.choice(LINE_ENDS) * dice.choice((1, 1, 2))]
    if dice.random() < 0.1:
        lines += [b"data: ", b"x" * _size(dice), b"\n\n"]
    return b"".join(lines)


def _size(dice: random.Random) -> int:
    """Choose as many small ones as large ones, from 1 B to 1 MB."""
    return int(LARGEST_BYTES ** dice.random())


def _pieces(dice: random.Random, content: bytes) -> tuple[bytes, ...]:
    """Cut it where it hurts: anywhere, and never into more than a few dozen pieces."""
    cuts = sorted(dice.randrange(1, len(content) + 1) for _ in range(dice.randrange(24)))
    edges = sorted({0, *cuts, len(content)})
    return tuple(content[a:b] for a, b in itertools.pairwise(edges))
