"""What `weir doctor` asks of one provider: its name, a connection, TLS, and a call that is free.

The steps follow each other, so the first that fails is told and nothing behind it is tried. The
call is a GET that reads a list or an account: it costs no tokens. It carries the gateway's own key,
if there is one, over the very way that a request would go: the same address, proxy, socket and
certificates.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from gateway.cli import probe
from gateway.cli.machine import Check, State
from gateway.errors import CallerFault
from gateway.upstream_tls import context_of

if TYPE_CHECKING:
    import socket

    from gateway.origins import Origin
    from gateway.providers import Provider

# A certificate that ends sooner should have been renewed: Let's Encrypt does so at 30 days.
CERTIFICATE_DAYS_MIN: Final = 14
DAY_S: Final = 86_400
# The lists of models, from the vendors' API references.
MODELS: Final = {"openai": b"v1/models", "anthropic": b"v1/models", "gemini": b"v1beta/models"}
# Of the other built-in providers, and of those whose list of models is open to all, a GET that
# wants the key and costs nothing, from their API references.
OWN: Final = {
    "deepgram": b"v1/projects",
    "elevenlabs": b"v1/user",
    "openrouter": b"v1/key",
    "replicate": b"v1/account",
}
# Anybody may read their list of models: it says nothing about the key.
OPEN: Final = frozenset({"huggingface"})
# Anthropic refuses a request without it.
EXTRA: Final = {"anthropic": ((b"anthropic-version", b"2023-06-01"),)}


class Reach:
    """One provider's checks. skew_s: how far its Date is ahead of our clock, None if unknown.

    is_near: whether nothing beyond this machine has to be reached for it.
    """

    def __init__(self, provider: Provider, timeout_s: float) -> None:
        self.checks: list[Check] = []
        self.skew_s: float | None = None
        self.is_near = False
        self._provider = provider
        self._timeout_s = timeout_s
        self._step = "address"

    @property
    def is_reached(self) -> bool:
        return any(check.check == "tcp" and check.state == "ok" for check in self.checks)

    async def run(self) -> None:
        """All steps, within the deadline."""
        target = OWN.get(self._provider.name) or MODELS.get(self._provider.dialect)
        origin, path = self._address(target)
        if origin is None:
            self._say("ok", "not checked: where it is depends on a request's path")
            return
        self.is_near = origin.socket is not None or _is_loopback(origin.host)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._steps(origin, path)
        except TimeoutError:
            text = f"no answer within {self._timeout_s:g} s; {self._way(origin)}"
            self._say("fail", text)
        except (OSError, ssl.SSLError, probe.ProbeError) as error:
            self._say("fail", f"{probe.reason(error)}; {self._way(origin)}")

    def _address(self, target: bytes | None) -> tuple[Origin | None, bytes]:
        """Where the free call goes; no origin if requests name it, and no path without a call."""
        origin = self._provider.origin
        if origin is None or target is None:
            return origin, b""
        try:
            return self._provider.locate(target, None)
        except CallerFault:
            return origin, b""  # the path must say more than we know

    async def _steps(self, origin: Origin, path: bytes) -> None:
        made = await self._connect(origin)
        try:
            connection = await self._secured(made, origin)
        except BaseException:
            made.close()
            raise
        async with connection:
            if origin.tls:
                self._judge_certificate(str(connection.certificate.get("notAfter", "")))
            if path:
                await self._ask(connection, origin, path)

    async def _connect(self, origin: Origin) -> socket.socket:
        started = time.monotonic()
        if origin.socket is not None:
            self._step = "tcp"
            made = await probe.connect_unix(origin.socket)
            self._say("ok", f"{origin.socket} takes connections")
            return made
        proxy = origin.proxy
        host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
        self._step = "dns"
        found = await probe.addresses(host, port)
        if not _is_address(host):
            self._say("ok", f"{host} has {len(found)} address{'es' if len(found) != 1 else ''}")
        self._step = "tcp"
        made = await probe.connect(found)
        took_ms = (time.monotonic() - started) * 1000
        via = "" if proxy is None else ", the proxy"
        self._say("ok", f"{host}:{port}{via} connected in {took_ms:.0f} ms")
        return made

    async def _secured(self, made: socket.socket, origin: Origin) -> probe.Connection:
        if origin.proxy is not None:
            self._step = "proxy"
            await probe.tunnel(made, origin.proxy, origin.host, origin.port)
            self._say("ok", f"leads to {origin.host}:{origin.port}")
        if not origin.tls:
            return await probe.opened(made)
        self._step = "tls"
        context = context_of(origin.ca_file, origin.client_cert, origin.client_key)
        return await probe.opened(made, context, origin.server_name)

    def _judge_certificate(self, until: str) -> None:
        days = int((ssl.cert_time_to_seconds(until) - time.time()) // DAY_S) if until else 0
        if days < CERTIFICATE_DAYS_MIN:
            text = f"the certificate ends in {days} days, on {until}; it has to be renewed there"
            self._say("warn", text)
        else:
            self._say("ok", f"the certificate is good for {days} days")

    async def _ask(self, connection: probe.Connection, origin: Origin, path: bytes) -> None:
        self._step = "auth"
        provider = self._provider
        fields = list(EXTRA.get(provider.name, EXTRA.get(provider.dialect, ())))
        key = provider.api_key
        has_key = key is not None and not key.missing
        if key is not None and has_key:
            fields.append(provider.credential.field(key))
        answer = await connection.get(path, origin.host_header, fields)
        self._say(*_judged(provider, answer.status, path.decode("latin-1"), has_key=has_key))
        self.skew_s = _ahead_s(answer.fields.get("Date"))

    def _say(self, state: State, text: str) -> None:
        self.checks.append(Check(self._provider.name, self._step, state, text))

    def _way(self, origin: Origin) -> str:
        """What to do where a step failed."""
        table = f"[providers.{self._provider.name}]"
        if self._step == "proxy":
            return f"check the proxy and its password, or set proxy in {table}"
        if self._step == "tls":
            return f"check base_url in {table}; ca_file names an authority of your own"
        if origin.socket is not None:
            return f"start what listens at {origin.socket}, or set socket in {table}"
        if self.is_near:
            return f"start what listens at {origin.host}:{origin.port}, or set base_url in {table}"
        if self._step == "auth":
            return f"check base_url in {table}"
        return "check this machine's network, resolver, firewall and HTTPS_PROXY"


def _judged(provider: Provider, status: int, path: str, *, has_key: bool) -> tuple[State, str]:
    """What an answer to the free call means."""
    asked = f"GET {path.partition('?')[0]} gave {status}"
    if status >= 500:
        return "warn", f"{asked}: the provider has trouble; try again later"
    if not has_key:
        if provider.api_key is None:
            return ("ok", asked) if status < 300 else ("warn", f"{asked}; is it the right server?")
        return "ok", f"{asked}; no key here ({provider.api_key.reference}), callers bring their own"
    assert provider.api_key is not None
    source = provider.api_key.reference or "api_key, written in the file"
    # Google says 400 of a key that is not valid.
    if status in (401, 403) or (status == 400 and provider.dialect == "gemini"):
        return "fail", f"{asked}: the key is refused; put a valid one in {source}"
    if status < 300 and provider.name not in OPEN:
        return "ok", f"{asked}: the key is accepted"
    if status == 429:
        return "warn", f"{asked}: too many requests, or no credit left; see the account"
    return "warn", f"{asked}, which says nothing about the key"


def _ahead_s(date: str | None) -> float | None:
    """How far a Date (RFC 9110 section 6.6.1, whole seconds) is ahead of our clock."""
    try:
        return parsedate_to_datetime(date or "").timestamp() + 0.5 - time.time()
    except (TypeError, ValueError):
        return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    if _is_address(host):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")
