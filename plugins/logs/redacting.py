"""Blanks what must not be kept in bodies: known secrets always, and what the rules match.

Bodies are looked at twice: as they stand, and as they read, because an escape in JSON or the border
of two events would hide what a rule is for.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from gateway import get_logger, scrub

from . import redactor
from .readable import Said
from .records import Body
from .rules import Rule

log = get_logger("logs")

# For all texts of a body. Time that was lost so is regained at a tenth of the clock's pace: a
# caller whose bodies are made to be slow would else hold up all rows, so his are left out untried.
RULES_S: Final = 2.0
REGAINED: Final = 0.1
_LEAST_S: Final = 0.1
# When the process ends by itself, should its owner have been killed meanwhile.
_ALARM_S: Final = 10
STOP_S: Final = 2.0
_PROGRAM: Final = redactor.__file__
# What an interpreter may need to start; the rest of ours holds keys.
_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH")
_MASK: Final = b"***"
# Of printable characters but for those that have to be escaped; any other escape is left alone.
_ESCAPE: Final = re.compile(rb"\\(?:u00([2-7][0-9a-fA-F])|.)", re.DOTALL)


class Failed(Exception):
    """The rules could not be applied; the text says why."""


class Redactor:
    """Owns the process that applies rules; there is none before it is needed. For one thread."""

    def __init__(self, rules_s: float = RULES_S) -> None:
        self.rules_s = rules_s
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._decoder = msgspec.msgpack.Decoder(list[bytes])
        self._lost_s = 0.0
        self._lost_at = 0.0

    def body(
        self, body: Body, rules: Sequence[Rule], credentials: Sequence[bytes]
    ) -> tuple[Body, Said]:
        """A body without what must not be kept, and what it says. `Failed` where nobody knows."""
        data = _without(body.data or b"", credentials)
        if rules:
            # An escape that nobody needs would hide what it stands for.
            (data,) = self._applied(rules, [_ESCAPE.sub(_unescaped, data)])
        said = Said(body._replace(data=data))
        before = [text.encode("utf-8", "surrogatepass") for text in said.texts]
        together = b"\n".join(before)
        after = before
        if _without(together, credentials) != together:
            after = [_without(text, credentials) for text in before]
        if rules and after:
            after = self._applied(rules, after)
        for place, text in enumerate(after):
            if text != before[place]:
                said.replace(place, text.decode("utf-8", "replace"))
        return body._replace(data=said.data()), said

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        if process is not None:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)

    def _applied(self, rules: Sequence[Rule], texts: list[bytes]) -> list[bytes]:
        pairs = [(rule.pattern, rule.with_) for rule in rules]
        frame = msgspec.msgpack.encode((pairs, texts))
        began = time.monotonic()
        self._lost_s = max(0.0, self._lost_s - (began - self._lost_at) * REGAINED)
        self._lost_at = began
        patience_s = self.rules_s - self._lost_s
        if patience_s < _LEAST_S:
            raise Failed("the rules took too long for others of late")
        until = began + patience_s
        try:
            channel = self._channel or self._start()
            channel.settimeout(patience_s)
            channel.sendall(len(frame).to_bytes(4, "big") + frame)
            size = int.from_bytes(_received(channel, 4, until), "big")
            return self._decoder.decode(_received(channel, size, until))
        except TimeoutError:
            self.close()
            self._lost_s += time.monotonic() - began
            raise Failed(f"the rules took more than {patience_s:.1f} s for a body") from None
        except (OSError, msgspec.MsgspecError) as error:
            self.close()
            raise Failed(f"the process that applies rules: {error}") from error

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - a program of ours
                    [sys.executable, "-P", _PROGRAM, str(_ALARM_S)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                )
            except OSError:
                ours.close()
                raise
        self._channel = ours
        return ours


def _received(channel: socket.socket, size: int, until: float) -> bytes:
    found = bytearray()
    while len(found) < size:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        channel.settimeout(left)
        piece = channel.recv(size - len(found))
        if not piece:
            raise ConnectionError("it ended")
        found += piece
    return bytes(found)


def _unescaped(found: re.Match[bytes]) -> bytes:
    sign = bytes.fromhex(found[1].decode()) if found[1] else b""
    return found[0] if sign in (b"", b'"', b"\\", b"\x7f") else sign


def _without(data: bytes, credentials: Sequence[bytes]) -> bytes:
    data = scrub(data)
    for credential in credentials:
        data = data.replace(credential, _MASK)
    return data
