"""What only the kernel knows about a TCP connection: Linux's TCP_INFO.

Two facts matter to a proxy: whether the other end has acknowledged what we wrote (may a request be
sent again?), and whether it has closed although we are not reading (has the caller left?).
"""

from __future__ import annotations

import fcntl
import select
import socket
import sys
import termios
from typing import Final

# How many written bytes have not left this machine (linux/sockios.h); Python does not name it.
_SIOCOUTQNSD: Final = 0x894B
_TCP_INFO: Final = getattr(socket, "TCP_INFO", 11) if sys.platform == "linux" else None
_ROUND_TRIP: Final = slice(148, 152)  # tcpi_min_rtt in microseconds, since Linux 4.6
_BYTES_ACKED: Final = slice(120, 128)  # struct tcp_info, tcpi_bytes_acked, since Linux 4.2
_BYTES_SENT: Final = slice(200, 208)  # tcpi_bytes_sent, since Linux 4.19
_BYTES_AGAIN: Final = slice(208, 216)  # tcpi_bytes_retrans, likewise
# States in which the other end is done sending: CLOSE_WAIT, CLOSE, LAST_ACK, CLOSING
# (include/net/tcp_states.h).
_GONE: Final = frozenset({7, 8, 9, 11})


class Progress:
    """How far what we wrote has come, in bytes: `sent` left this machine, `acked` reached the other
    kernel.
    """

    __slots__ = ("acked", "sent")

    def __init__(self, acked: int, sent: int) -> None:
        self.acked = acked
        self.sent = sent


def progress(sock: socket.socket) -> Progress | None:
    """The present state; `acked` counts the SYN as 1. None where that cannot be known."""
    info = _info(sock, 216)
    if info is None or len(info) < 216:
        return None
    return Progress(
        _number(info, _BYTES_ACKED), _number(info, _BYTES_SENT) - _number(info, _BYTES_AGAIN)
    )


def bytes_acked(sock: socket.socket) -> int | None:
    """How many bytes the other end's kernel has acknowledged, the SYN included; None if unknown."""
    now = progress(sock)
    return None if now is None else now.acked


def round_trip_ns(sock: socket.socket) -> int:
    """How long the other end has taken at least to acknowledge something; 0 if unknown."""
    info = _info(sock, 152)
    return 0 if info is None or len(info) < 152 else _number(info, _ROUND_TRIP) * 1000


def _number(info: bytes, place: slice) -> int:
    return int.from_bytes(info[place], sys.byteorder)


def is_gone(sock: socket.socket) -> bool:
    """Whether the other end has closed or reset, even if bytes of it are still unread."""
    if sock.family == socket.AF_UNIX:
        return _has_hung_up(sock)
    info = _info(sock, 8)
    return info is not None and info[0] in _GONE


def _has_hung_up(sock: socket.socket) -> bool:
    """The same of a Unix socket, which has no TCP_INFO: poll(2)."""
    poll = select.poll()
    try:
        poll.register(sock.fileno(), getattr(select, "POLLRDHUP", select.POLLHUP))
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return False  # closed already


def unread(sock: socket.socket) -> int:
    """How many bytes have come that nobody has read (SIOCINQ)."""
    try:
        return int.from_bytes(
            fcntl.ioctl(sock.fileno(), termios.FIONREAD, b"\0" * 4), sys.byteorder
        )
    except (OSError, ValueError):
        return 0  # closed already


def unacknowledged(sock: socket.socket) -> int:
    """How many written bytes the other end's kernel has not acknowledged yet (SIOCOUTQ)."""
    try:
        return int.from_bytes(
            fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4), sys.byteorder
        )
    except (OSError, ValueError):
        return 0  # closed already, or a socket that does not say


def unsent(sock: socket.socket) -> int:
    """How many written bytes have not left this machine, because the other end takes no more."""
    try:
        return int.from_bytes(fcntl.ioctl(sock.fileno(), _SIOCOUTQNSD, b"\0" * 4), sys.byteorder)
    except (OSError, ValueError):
        return 0  # closed already, or a socket that does not say


def reset(sock: socket.socket) -> None:
    """Make the coming close a reset (RST), so that the other end cannot take it for an end."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    except (OSError, ValueError):  # closed already; uvloop's sockets say it with a ValueError
        return  # closed already: there is nobody left to tell


def _info(sock: socket.socket, size: int) -> bytes | None:
    if _TCP_INFO is None or sock.family == socket.AF_UNIX:
        return None
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, size)
    except (OSError, ValueError):  # closed already; uvloop's sockets say it with a ValueError
        return None
