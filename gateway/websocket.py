"""WebSocket's frames (RFC 6455 section 5) and their compression (RFC 7692), without I/O.

A tunnel passes bytes and understands nothing; what stands here only looks on. `Reader` follows the
frames of one direction: where one ends, so that a close frame of ours may follow it, and whether
the peer has said goodbye. Where a plugin taps the messages, it also puts them together, unmasked
and inflated, up to a bound.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

from gateway.frames import unmasked

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_KINDS: Final = {_TEXT: "text", _BINARY: "binary"}
_OPCODES: Final = frozenset({_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG})
_CONTROL_BYTES_MAX: Final = 125  # RFC 6455 section 5.5
# What the sender took off the end of a compressed message (RFC 7692 section 7.2.2).
_TAIL: Final = b"\x00\x00\xff\xff"
# Inflated in steps, so that a few bytes of a bomb never become gigabytes at once.
_STEP_BYTES: Final = 256 * 1024
# A message that is too long is inflated on unseen, because the next one may refer to it, up to so
# many times the bound; then that direction's compressed messages are all reported as too long.
_UNSEEN_TIMES_MAX: Final = 4

# What is told of a message: "text" or "binary", and its bytes; None where it was too long.
Show = Callable[[str, bytes | None], None]


class Unreadable(ValueError):
    """A direction's messages cannot be read: no such frames, no such compression."""


# -- frames ----------------------------------------------------------------------------------------


class Reader:
    """Follows one direction's frames, split in whatever way.

    is_closed: the peer's close frame has come whole. fault: why no more messages are shown, if they
    became unreadable; frames are followed all the same. show: called for each message, must not
    raise; without it, payloads are not looked at. bytes_max: of a message, inflated. inflater: for
    compressed ones.
    """

    __slots__ = (
        "_bytes_max",
        "_collects",
        "_goes_on",
        "_head",
        "_inflater",
        "_is_control",
        "_is_final",
        "_is_masked",
        "_is_packed",
        "_kind",
        "_left",
        "_mask",
        "_opcode",
        "_pieces",
        "_place",
        "_show",
        "_size",
        "fault",
        "is_closed",
    )

    def __init__(
        self,
        *,
        is_masked: bool,
        show: Show | None = None,
        bytes_max: int = 0,
        inflater: Inflater | None = None,
    ) -> None:
        self.is_closed = False
        self.fault: Unreadable | None = None
        self._is_masked = is_masked
        self._show = show
        self._bytes_max = bytes_max
        self._inflater = inflater
        self._head = bytearray()
        # of the frame
        self._left = 0  # bytes of its payload that are to come
        self._place = 0  # and that have come
        self._mask = b""
        self._opcode = 0
        self._is_final = False
        self._is_control = False
        self._collects = False
        # of the message
        self._goes_on = False  # in another frame
        self._kind = ""
        self._is_packed = False
        self._pieces: list[bytes] = []
        self._size = 0

    @property
    def is_between(self) -> bool:
        """Whether the last frame is whole, so that another may follow."""
        return not self._left and not self._head

    @property
    def is_between_messages(self) -> bool:
        """Whether a message of another may follow; control frames may stand within one."""
        return self.is_between and not self._goes_on

    def look_away(self) -> None:
        """Show no more messages; frames are followed all the same."""
        self._show = self._inflater = None
        self._collects = False
        self._pieces.clear()

    def feed(self, data: bytes) -> None:
        """Follow a slice."""
        at, size = 0, len(data)
        while at < size and not self.is_closed:
            left = self._left
            if not left:
                at = self._feed_head(data, at)
                continue
            end = min(size, at + left)
            if self._collects:
                self._collect(data if end - at == size else data[at:end])
            self._place += end - at
            self._left = left - (end - at)
            at = end
            if not self._left:
                self._end_frame()

    def _feed_head(self, data: bytes, at: int) -> int:
        """Take what belongs to a frame's head (RFC 6455 section 5.2); where its payload begins."""
        head = self._head
        while len(head) < (need := _head_bytes(head)):
            part = data[at : at + need - len(head)]
            if not part:
                return at
            head += part
            at += len(part)
        self._begin_frame(bytes(head))
        head.clear()
        if not self._left:
            self._end_frame()
        return at

    def _begin_frame(self, head: bytes) -> None:
        first, second = head[0], head[1]
        opcode = self._opcode = first & 15
        self._is_final = first > 127
        self._is_control = opcode > 7
        if not self._is_control:
            self._goes_on = not self._is_final
        has_mask = second > 127
        size = second & 127
        end = len(head) - 4 if has_mask else len(head)
        if size > 125:
            size = int.from_bytes(head[2:end], "big")
        self._mask = head[end:]
        self._left, self._place = size, 0
        self._collects = False
        if self._show is not None:
            wrong = self._judge(first, size)
            if has_mask is not self._is_masked:
                wrong = "a frame is masked that must not be, or is not and must be"
            if wrong:
                self._fail(Unreadable(wrong))

    def _judge(self, first: int, size: int) -> str:
        """See what the frame is to its message, where messages are shown. What is wrong with it,
        or nothing.
        """
        opcode = self._opcode
        if opcode not in _OPCODES or first & 0x30:
            return "a frame of an unknown kind"
        is_packed = bool(first & 0x40)
        if self._is_control:
            is_wrong = is_packed or not self._is_final or size > _CONTROL_BYTES_MAX
            return "a control frame that is split, compressed or too long" if is_wrong else ""
        if opcode == _CONTINUATION:
            if not self._kind or is_packed:
                return "a continuation of nothing"
        else:
            if self._kind:
                return "a message within a message"
            if is_packed and self._inflater is None:
                return "a compressed message where nothing was agreed on"
            self._kind = _KINDS[opcode]
            self._is_packed = is_packed
        self._collects = True
        return ""

    def _collect(self, data: bytes) -> None:
        if self._mask:
            data = unmasked(data, self._mask, self._place)
        if self._is_packed:
            self._inflate(data)
        else:
            self.take(data)

    def _inflate(self, data: bytes) -> None:
        assert self._inflater is not None
        try:
            self._inflater.inflate(data, self)
        except zlib.error as error:
            self._fail(Unreadable(f"a message is not compressed as agreed: {error}"))

    def _fail(self, fault: Unreadable) -> None:
        self.fault = fault
        self.look_away()

    def take(self, data: bytes) -> None:
        """Add to the message; beyond the bound it is only counted."""
        self._size += len(data)
        if self._size <= self._bytes_max:
            self._pieces.append(data)
        else:
            self._pieces.clear()

    def _end_frame(self) -> None:
        if self._is_control:
            self.is_closed = self._opcode == _CLOSE
            return
        if not self._is_final or not self._kind:
            return
        is_blind = False
        if self._is_packed and self._show is not None:
            self._inflate(_TAIL)
        inflater = self._inflater
        if self._is_packed and inflater is not None:
            is_blind = inflater.is_blind
            inflater.end()
        show = self._show
        if show is None:
            return
        is_whole = self._size <= self._bytes_max and not is_blind
        kind, message = self._kind, b"".join(self._pieces) if is_whole else None
        self._kind, self._size = "", 0
        self._pieces.clear()
        show(kind, message)


class Inflater:
    """Inflates one direction's messages. anew: each begins with an empty window."""

    __slots__ = ("_anew", "_bytes_max", "_inflate", "_size", "is_blind")

    def __init__(self, *, anew: bool, bytes_max: int) -> None:
        self._anew = anew
        self._bytes_max = bytes_max * _UNSEEN_TIMES_MAX
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._size = 0
        self.is_blind = False  # it has given up on this message, or on all that follow

    def inflate(self, data: bytes, into: Reader) -> None:
        """Inflate a piece of a message, a bounded step at a time. Raises `zlib.error`."""
        while data and not self.is_blind:
            inflate = self._inflate
            plain = inflate.decompress(data, _STEP_BYTES)
            data = inflate.unconsumed_tail
            if inflate.eof:
                # A sender may end a block as if it were its last (RFC 7692 section 7.2.3.4).
                data = inflate.unused_data
                self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            self._size += len(plain)
            self.is_blind = self._size > self._bytes_max
            if plain:
                into.take(plain)

    def end(self) -> None:
        """The message is over."""
        self._size = 0
        if self._anew:
            self.is_blind = False
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)


def _head_bytes(head: bytearray) -> int:
    """How long a frame's head is, as far as its first bytes say."""
    if len(head) < 2:
        return 2
    size = head[1] & 127
    return 2 + (8 if size == 127 else 2 if size == 126 else 0) + (4 if head[1] > 127 else 0)
