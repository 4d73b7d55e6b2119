"""Alerts: a line in the log, and a signed webhook that is tried again.

The body is JSON. `weir-timestamp` is the time of its sending in seconds, and `weir-signature` is
`sha256=` and the HMAC-SHA256, in hex, of that text, a full stop and the body. `weir-alert-id` stays
the same when it is sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import msgspec
import orjson

from gateway import Secret, get_logger, now_ms

from .counters import Counter, Tally
from .reporting import subject_of
from .rules import Limit
from .windows import written

log = get_logger("budget")

# More alerts than this wait for nobody: the log has them all.
QUEUE_MAX: Final = 1000
# One try, and the pauses between tries.
TRY_S: Final = 10.0
BACK_OFF_S: Final = 0.5
BACK_OFF_MAX_S: Final = 30.0
# What is left at the end of the process has this long.
LAST_S: Final = 2.0


class Alerts:
    """url: where alerts are posted to; empty for nowhere. patience_s: how long one is tried."""

    def __init__(self, url: str, secret: Secret | None, patience_s: float) -> None:
        self._url = url
        self._secret = secret
        self._patience_s = patience_s
        self._queue: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(QUEUE_MAX)

    def tell(self, limit: Limit, tally: Tally, counter: Counter) -> None:
        """Say that spending has come past a share of the limit, the latest of `counter.told`."""
        share = limit.shares[counter.told - 1]
        facts = {
            "budget": limit.name,
            "limit": limit.rule.limit,
            "unit": "nanousd" if limit.in_usd else "tokens",
            "amount": limit.amount,
            "hard": limit.hard,
            "reached": share,
            **msgspec.structs.asdict(subject_of(limit, tally, counter)),
        }
        log.warning("budget_share_reached", **facts)
        if not self._url:
            return
        name = secrets.token_hex(16)
        body = {"type": "budget_share_reached", "id": name, "at": written(now_ms()), **facts}
        try:
            self._queue.put_nowait((name, orjson.dumps(body)))
        except asyncio.QueueFull:
            log.error("alert_dropped", budget=limit.name, waiting=QUEUE_MAX)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send what is told meanwhile."""
        if not self._url:
            yield
            return
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TRY_S)) as session:
            sending = asyncio.get_running_loop().create_task(self._send(session))
            try:
                yield
            finally:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._queue.join(), LAST_S)
                if not self._queue.empty():
                    log.error("alerts_not_sent", waiting=self._queue.qsize())
                sending.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await sending

    async def _send(self, session: aiohttp.ClientSession) -> None:
        while True:
            name, body = await self._queue.get()
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._deliver(session, name, body)
            except TimeoutError:
                log.error("alert_not_sent", alert=name, after_s=self._patience_s)
            except Exception as error:
                log.error("alert_not_sent", alert=name, error=repr(error))
            finally:
                self._queue.task_done()

    async def _deliver(self, session: aiohttp.ClientSession, name: str, body: bytes) -> None:
        """Try until somebody takes it, or says that nobody ever will."""
        pause_s = BACK_OFF_S
        while True:
            try:
                headers = self._headers(name, body)
                async with session.post(
                    self._url, data=body, headers=headers, allow_redirects=False
                ) as answer:
                    status = answer.status
                if status < 300:
                    return
                if status < 500 and status not in (408, 425, 429):
                    log.error("alert_refused", alert=name, status=status)
                    return
                why: dict[str, Any] = {"status": status}
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                why = {"error": repr(error)}
            log.warning("alert_delayed", alert=name, again_in_s=round(pause_s, 1), **why)
            await asyncio.sleep(pause_s * random.uniform(0.75, 1.25))
            pause_s = min(2 * pause_s, BACK_OFF_MAX_S)

    def _headers(self, name: str, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "weir-alert-id": name}
        if self._secret is not None and not self._secret.missing:
            stamp = str(now_ms() // 1000)
            headers["weir-timestamp"] = stamp
            headers["weir-signature"] = f"sha256={signature(self._secret, stamp, body)}"
        return headers


def signature(secret: Secret, stamp: str, body: bytes) -> str:
    """What proves that a body comes from who knows the secret, and when it was sent."""
    return hmac.new(secret.reveal(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
