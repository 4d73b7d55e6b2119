"""Where keys come from, and how they stay fresh: a URL or a file, read again before it is old.

Keys are read again every `refresh`. While that fails the last ones are used on, for `stale` at
most. A token that names an unknown key has them read at once, because its issuer may have changed
keys; but not more often than every `AGAIN_S`, because anybody can make up a name.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import aiohttp

from gateway import Gateway, get_logger

from .keys import KeySet

log = get_logger("jwt")

FILE: Final = "file:"
# A set of a hundred keys is below; what is longer is the wrong page.
BYTES_MAX: Final = 256 * 1024
# One try, from the look-up of the name to the last byte.
TRY_S: Final = 5.0
# Between two readings that tokens cause.
AGAIN_S: Final = 5.0
# The first pause after a failure; each is twice as long as the one before.
BACK_OFF_S: Final = 1.0
BACK_OFF_MAX_S: Final = 60.0


class Source:
    """One place of keys. keys: those in force; None before the first reading, and once the last is
    too old. place: a URL, or "file:/path". read: makes keys of its bytes. try_s, again_s: see the
    constants.
    """

    def __init__(
        self,
        place: str,
        read: Callable[[bytes], KeySet],
        *,
        ca_file: str,
        refresh_ns: int,
        stale_ns: int,
        try_s: float = TRY_S,
        again_s: float = AGAIN_S,
    ) -> None:
        self.keys: KeySet | None = None
        self.place = place
        self._read = read
        self._trust: ssl.SSLContext | bool = True
        if ca_file:
            self._trust = ssl.create_default_context(cafile=Path(ca_file).expanduser())
        self._refresh_ns = refresh_ns
        self._stale_ns = stale_ns
        self._try_s = try_s
        self._again_s = again_s
        self._read_ns = 0  # when it succeeded
        self._tried_ns: int | None = None
        self._trying: asyncio.Task[None] | None = None
        self._failures = 0
        self._gateway: Gateway | None = None
        self._running: asyncio.Task[None] | None = None

    def start(self, gateway: Gateway) -> None:
        """Read, and go on reading."""
        self._gateway = gateway
        self._running = gateway.task(self._run(), "jwt-keys")

    def stop(self) -> None:
        for task in (self._running, self._trying):
            if task is not None:
                task.cancel()

    async def first(self) -> None:
        """Wait for the first try."""
        trying = self.again()
        if trying is not None:
            await asyncio.wait([trying])

    def again(self) -> asyncio.Task[None] | None:
        """A reading that is under way, or is begun because of a token. None where there was one
        just now.
        """
        trying = self._trying
        if trying is not None and not trying.done():
            return trying
        tried_ns = self._tried_ns
        if tried_ns is not None and time.monotonic_ns() - tried_ns < self._again_s * 1e9:
            return None
        return self._begin()

    async def load(self) -> None:
        """Read once. OSError, ValueError, TimeoutError or aiohttp.ClientError where that fails."""
        async with asyncio.timeout(self._try_s):
            text = await self._text()
        keys = self._read(text)
        if self.keys is None or self.keys.digest != keys.digest:
            # Tokens that were verified by others are verified again.
            self.keys = keys
            log.info("keys_read", place=self.place, keys=len(keys))
        self._read_ns = time.monotonic_ns()

    # -- inner -------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await asyncio.wait([self._begin()])
            pause_s = self._refresh_ns / 1e9 * random.uniform(0.8, 1.0)
            if self._failures:
                self._let_go()
                waits_s = BACK_OFF_S * 2 ** min(self._failures - 1, 10)
                pause_s = min(pause_s, waits_s, BACK_OFF_MAX_S) * random.uniform(0.75, 1.0)
            await asyncio.sleep(pause_s)

    def _begin(self) -> asyncio.Task[None]:
        trying = self._trying
        if trying is None or trying.done():
            assert self._gateway is not None
            self._tried_ns = time.monotonic_ns()
            trying = self._trying = self._gateway.task(self._try(), "jwt-keys-read")
        return trying

    async def _try(self) -> None:
        try:
            await self.load()
        except (OSError, ValueError, TimeoutError, aiohttp.ClientError) as error:
            self._failures += 1
            reason = str(error) or type(error).__name__
            log.warning("keys_not_read", place=self.place, reason=reason, failures=self._failures)
        else:
            self._failures = 0

    def _let_go(self) -> None:
        """Use no keys that are too old: what was taken out of them since would still open."""
        if self.keys is not None and time.monotonic_ns() - self._read_ns > self._stale_ns:
            self.keys = None
            log.error("keys_too_old", place=self.place, after_s=self._stale_ns / 1e9)

    async def _text(self) -> bytes:
        if self.place.startswith(FILE):
            return _bounded(await asyncio.to_thread(_head_of, self.place.removeprefix(FILE)))
        headers = {"Accept": "application/jwk-set+json, application/json"}
        timeout = aiohttp.ClientTimeout(total=self._try_s)
        # A session of its own each time: it is needed every few minutes.
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            # A redirect would lead where nobody has allowed it to.
            session.get(
                self.place, headers=headers, ssl=self._trust, allow_redirects=False
            ) as answer,
        ):
            if answer.status != 200:
                raise ValueError(f"it answers {answer.status}")
            text = b""
            async for piece in answer.content.iter_any():
                text = _bounded(text + piece)
            return text


def _head_of(path: str) -> bytes:
    with Path(path).expanduser().open("rb") as file:
        return file.read(BYTES_MAX + 1)


def _bounded(text: bytes) -> bytes:
    if len(text) > BYTES_MAX:
        raise ValueError(f"it is longer than {BYTES_MAX} bytes")
    return text
