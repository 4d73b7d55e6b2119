"""The ways in which an upstream dies, and what a caller must have got by then."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.testing import Visit, chunk, head

EVENTS = (b"Content-Type", b"text/event-stream")
CHUNKED = (b"Transfer-Encoding", b"chunked")
ONE = b'data: {"a":1}\n\n'
# The first half of an event whose last byte is the first of a wave's four.
HALF = b'data: {"text":"\xf0'
DONE = b"data: [DONE]\n\n"
STREAM = head(200, EVENTS, CHUNKED)
CLOSED = head(200, EVENTS, (b"Connection", b"close"))
SIZED = head(200, (b"Content-Length", b"100"))


@dataclass(frozen=True)
class Death:
    """pieces: what the upstream sends, each a packet. how: "fin", "reset", "close_notify", or
    "stays": then only what it sent is wrong. body: what the caller must get before the cut, None if
    there is nothing that it could be told but a 502.
    """

    name: str
    pieces: tuple[bytes, ...]
    how: str
    body: bytes | None
    tls: bool = False

    def script(self, visit: Visit) -> None:
        visit.read()
        for piece in self.pieces:
            visit.send(piece)
            visit.pause(0.005)  # packets of their own
        if self.how == "stays":
            visit.wait_gone()
            return
        if self.how == "reset":
            visit.pause(0.02)  # a reset overtakes what was sent just before it
        getattr(visit, self.how)()


def _both(name: str, *pieces: bytes, body: bytes | None) -> tuple[Death, ...]:
    """Make the two deaths that differ in the last packet only."""
    return tuple(Death(f"{how}_{name}", pieces, how, body) for how in ("fin", "reset"))


def _bad(name: str, *pieces: bytes, body: bytes | None = None) -> Death:
    return Death(name, pieces, "stays", body)


DEATHS: tuple[Death, ...] = (
    *_both("before_the_head", body=None),
    *_both("inside_the_status_line", b"HTTP/1.1 2", body=None),
    *_both("inside_the_head", b"HTTP/1.1 200 OK\r\nContent-Le", body=None),
    *_both("after_the_head", STREAM, body=b""),
    *_both("after_a_sized_head", SIZED, body=b""),
    *_both("after_an_event", STREAM + chunk(ONE), body=ONE),
    *_both("between_events", STREAM, chunk(ONE), chunk(ONE), body=ONE * 2),
    *_both("inside_an_event_and_a_character", STREAM, chunk(ONE), chunk(HALF), body=ONE + HALF),
    *_both("inside_a_chunk", STREAM, chunk(ONE), b"20\r\ndata: ", body=ONE + b"data: "),
    *_both("inside_the_size_of_a_chunk", STREAM, chunk(ONE), b"2", body=ONE),
    *_both("behind_a_chunk_without_its_end", STREAM, b"5\r\nhello", body=b"hello"),
    *_both("before_the_last_chunk", STREAM, chunk(ONE), chunk(DONE), body=ONE + DONE),
    *_both("inside_the_last_chunk", STREAM, chunk(DONE), b"0\r\n", body=DONE),
    *_both("inside_the_trailers", STREAM, chunk(DONE), b"0\r\nA: b\r\n", body=DONE),
    *_both("short_of_the_length", SIZED, b"x" * 50, b"y" * 49, body=b"x" * 50 + b"y" * 49),
    Death("reset_of_a_body_without_length", (CLOSED, ONE, DONE), "reset", ONE + DONE),
    Death("fin_before_the_end_marker", (CLOSED, ONE), "fin", ONE),
    Death("tls_without_close_notify", (CLOSED, ONE, DONE), "fin", ONE + DONE, tls=True),
    Death("tls_fin_in_a_chunk", (STREAM, chunk(ONE), b"9\r\nx"), "fin", ONE + b"x", tls=True),
    Death("tls_close_notify_in_a_chunk", (STREAM, b"9\r\nx"), "close_notify", b"x", tls=True),
    Death("tls_short_of_the_length", (SIZED, b"x" * 99), "close_notify", b"x" * 99, tls=True),
    Death("tls_reset_before_the_head", (), "reset", None, tls=True),
    _bad("bad_size_of_a_chunk", STREAM, chunk(ONE), b"zz\r\nabc", body=ONE),
    _bad("huge_size_of_a_chunk", STREAM, chunk(ONE), b"f" * 17 + b"\r\nabc", body=ONE),
    _bad("no_line_end_behind_a_chunk", STREAM, chunk(ONE), b"3\r\nabcde\r\n", body=ONE + b"abc"),
    _bad("both_framings", head(200, (b"Content-Length", b"3"), CHUNKED) + b"3\r\nabc\r\n0\r\n\r\n"),
    _bad("both_framings_reversed", head(200, CHUNKED, (b"Content-Length", b"3")) + b"0\r\n\r\n"),
    _bad("two_lengths", head(200, (b"Content-Length", b"3"), (b"Content-Length", b"4")) + b"abc"),
    _bad("no_number_for_a_length", head(200, (b"Content-Length", b"3x")) + b"abc"),
    _bad("an_unknown_coding", head(200, (b"Transfer-Encoding", b"gzip")) + b"abc"),
    _bad("no_http", b"SSH-2.0-OpenSSH_9.6\r\n"),
)
BY_NAME = {death.name: death for death in DEATHS}
