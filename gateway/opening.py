"""How an answer's body will go out: its framing for this caller, and which relay carries it.

Everything about a body that can be known from the head is decided here, so that the relay has
nothing left to decide per slice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from gateway import message
from gateway.decoding import Decoder
from gateway.errors import UpstreamFault
from gateway.relay import Relay, Watched, Watching

if TYPE_CHECKING:
    from gateway.line import Line
    from gateway.outlet import Collector
    from gateway.plan import Hook
    from gateway.reply import Head
    from gateway.upstream import Answer

EVENT_STREAM: Final = b"text/event-stream"
STARTS_TEXT: Final = (b"t", b"T")  # a type that does not is told apart without a call
BODILESS: Final = (204, 304)
_PLAIN: Final = (b"", b"identity")


def opened(
    line: Line,
    head: Head,
    answer: Answer | None,
    *,
    length: bytes | None,
    kind: bytes | None,
    coding: bytes | None,
    rewritten: bool = True,
) -> Relay:
    """The relay for this answer, holding the head that it will send first.

    length, kind, coding: the values of Content-Length, Content-Type and Content-Encoding, None
    where absent.
    rewritten: False for our own error pages, which no rewriter sees.
    """
    plan = line.exchange.plan
    is_silent = line.exchange.method == b"HEAD" or head.status in BODILESS
    is_events = is_event_stream(kind)
    if answer is not None and answer.bodiless and not is_silent:
        length = b"0"  # a plugin made another status of one that has no body
    watching = None
    if not is_silent and (
        plan.watches or (is_events and answer is not None and answer.close_delimited)
    ):
        watching = _watching(line, answer, is_events=is_events, coding=coding, rewritten=rewritten)
    if watching is not None and watching.rewriters:
        length = None
        if watching.decoder is not None:
            head.headers.drop(b"content-encoding")
    framing, chunked, unframed, keep = _framing(line, head, length, is_silent=is_silent)
    if line.is_child:
        cast("Collector", line.outlet).head = head
        text, chunked = b"", False
    else:
        text = message.answer_head(head, framing)
    relay = (
        Relay(line.exchange, line, line.outlet, answer, text, chunked=chunked)
        if watching is None
        else Watched(line.exchange, line, line.outlet, answer, text, watching, chunked=chunked)
    )
    relay.is_silent = is_silent
    relay.keeps = keep
    relay.is_unframed = unframed
    return relay


def shown_whole(line: Line, answer: Answer, data: bytes) -> bool:
    """Show an answer that came whole to those who watch it; False where it has to be split, decoded
    or changed first, and nobody has seen it yet.
    """
    plan = line.exchange.plan
    if is_event_stream(answer.kind) or not _is_plain(answer.coding):
        return False
    if plan.rewrite:
        line.rewriters = _made(line, plan.rewrite)
        if line.rewriters:
            return False
    for taps in taps_of(line) if plan.tap else ():
        for tap in taps:
            if data and not hasattr(tap, "event"):
                try:
                    tap(data)
                except Exception as error:  # what only watches is contained
                    line.tap_failed(tap, error)
    return True


def is_event_stream(kind: bytes | None) -> bool:
    """Whether a Content-Type says so; types do not heed case (RFC 9110 section 8.3.1)."""
    return kind is not None and kind[: len(EVENT_STREAM)].lower() == EVENT_STREAM


def _watching(
    line: Line,
    answer: Answer | None,
    *,
    is_events: bool,
    coding: bytes | None,
    rewritten: bool,
) -> Watching | None:
    """Who looks at this body, and how it is to be shown to them; None if nobody does."""
    exchange, plan = line.exchange, line.exchange.plan
    rewriters: list[Any] = []
    if rewritten:
        rewriters = _made(line, plan.rewrite) if line.rewriters is None else line.rewriters
    taps = taps_of(line) if plan.tap else ([], [])
    needs_marker = (
        is_events and answer is not None and answer.close_delimited and exchange.dialect is not None
    )
    events = is_events and (bool(plan.settle) or needs_marker or _wants_events(rewriters, *taps))
    decoder = None
    if rewriters or taps[0] or taps[1] or events:
        decoder = _decoder(line, coding, taps, bool(rewriters))
        events = events and (decoder is not None or _is_plain(coding))
    if not (rewriters or taps[0] or taps[1] or events):
        return None
    return Watching(taps[0], taps[1], rewriters, decoder, events=events, needs_marker=needs_marker)


def _framing(
    line: Line, head: Head, length: bytes | None, *, is_silent: bool
) -> tuple[bytes, bool, bool, bool]:
    """The framing lines, whether the body is chunked, whether only the close ends it, and whether
    to keep the connection.
    """
    is_old = line.exchange.version == "1.0"
    keep = line.outlet.may_keep
    framing, chunked, unframed = b"", False, False
    if is_silent:
        if length is not None and head.status != 204:  # RFC 9110 section 8.6
            framing = b"Content-Length: %b\r\n" % length
    elif length is not None:
        framing = b"Content-Length: %b\r\n" % length
    elif not is_old:
        framing, chunked = message.CHUNKED, True
    else:
        unframed, keep = True, False
    if not keep:
        framing += message.CLOSE
    elif is_old:
        framing += message.KEEP
    return framing, chunked, unframed, keep


def _made(line: Line, hooks: tuple[Hook, ...]) -> list[Any]:
    made = []
    for hook in hooks:
        try:
            rewriter = hook.call(line.exchange)
        except Exception as error:
            raise line.blame(hook, error) from error
        if rewriter is not None:
            line.owns(hook, rewriter)
            made.append(rewriter)
    return made


def taps_of(line: Line) -> tuple[list[Any], list[Any]]:
    """Who watches the upstream's side, and who the caller's."""
    upstream: list[Any] = []
    caller: list[Any] = []
    for hook in line.exchange.plan.tap:
        for side in hook.sides:
            try:
                tap = hook.call(line.exchange, side)
            except Exception as error:  # what only watches is contained
                line.tap_failed(hook, error)
                continue
            if tap is not None:
                line.owns(hook, tap)
                (upstream if side == "upstream" else caller).append(tap)
    return upstream, caller


def _wants_events(*watchers: list[Any]) -> bool:
    return any(hasattr(watcher, "event") for group in watchers for watcher in group)


def _decoder(
    line: Line, coding: bytes | None, taps: tuple[list[Any], list[Any]], has_rewriters: bool
) -> Decoder | None:
    """A decoder for an answer that came compressed although we asked for it plain."""
    if coding is None or _is_plain(coding):
        return None
    coding = coding.strip().lower()
    if Decoder.knows(coding):
        return Decoder(coding)
    if has_rewriters:
        raise UpstreamFault(
            "The upstream's answer is compressed in a way that this gateway cannot read.",
            code="upstream_coding",
            detail=f"Content-Encoding: {coding.decode('latin-1')} although identity was asked for",
        )
    for tap in (*taps[0], *taps[1]):
        line.tap_failed(
            tap, ValueError(f"cannot decode Content-Encoding: {coding.decode('latin-1')}")
        )
    taps[0].clear()
    taps[1].clear()
    return None


def _is_plain(coding: bytes | None) -> bool:
    return coding is None or coding.strip().lower() in _PLAIN
