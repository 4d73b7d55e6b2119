"""Which proxy leads to an upstream: what the configuration says, else the environment.

The environment is read as curl and most clients do: `https_proxy` or `HTTPS_PROXY` for https
upstreams, `http_proxy` for http ones in lower case only (under CGI a caller's `Proxy:` field
becomes HTTP_PROXY, CVE-2016-5385), `no_proxy` or `NO_PROXY` for exceptions. An empty variable
counts as not set. What makes the tunnel is `gateway.tunnel`; here nothing is sent.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from gateway.secret import ENV, FILE, MASK, Secret, resolve

# The variables of each scheme, the first that is set counts; then those of the exceptions.
VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "https": ("https_proxy", "HTTPS_PROXY"),
    "http": ("http_proxy",),
}
EXCEPTIONS: Final = ("no_proxy", "NO_PROXY")
# Never a part of what was given: a password with an unescaped sign in it may end up anywhere.
WANTED: Final = (
    'wanted "http://HOST:PORT" or "http://USER:PASSWORD@HOST:PORT", '
    "with signs such as @ : / # and % in user and password percent-encoded"
)
_PORT_HTTP: Final = 80
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Tells users of one proxy apart in an origin's key, which is logged, and tells nothing else.
_salt: Final = os.urandom(16)

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxy:
    """One HTTP proxy. key: safe to show, and equal where connections may be shared.

    authorization: the value of Proxy-Authorization (RFC 7617), if the URL held credentials.
    """

    __slots__ = ("_password", "authorization", "host", "key", "port")

    def __init__(self, host: str, port: int, user: bytes = b"", password: bytes = b"") -> None:
        self.host = host
        self.port = port
        self.key = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.authorization: Secret | None = None
        self._password = Secret(password)  # known to the log as long as we are, to be blanked
        if user or password:
            value = b"Basic " + base64.b64encode(user + b":" + password)
            self.authorization = Secret(value)
            self.key += f" (credentials {hmac.digest(_salt, value, 'sha256')[:4].hex()})"


class ProxyUrl:
    """A key `proxy` of the configuration: a URL, a reference to one, or an empty text for none.

    proxy: None switches proxies off. secret: the whole URL, where it holds credentials.
    """

    __slots__ = ("proxy", "secret", "shown")

    def __init__(self, text: str, environ: Mapping[str, str]) -> None:
        """Read the text; ValueError says what is wrong and quotes nothing that may be secret."""
        self.proxy: Proxy | None = None
        self.secret: Secret | None = None
        self.shown = text
        reference, url = "", text.strip()
        if text.startswith((ENV, FILE)):
            held = resolve(text, environ)
            if held.missing and held.why_missing != "empty":
                raise ValueError(f"{text} is {held.why_missing}")
            reference, url = text, "" if held.missing else held.reveal().decode("utf-8", "replace")
        if not url:
            return
        self.proxy = parse(url)
        if self.proxy.authorization is not None:
            self.secret = Secret(url.encode(), reference=reference)
        if not reference:
            bare = self.proxy.key.partition(" ")[0]
            self.shown = f"http://{bare}" if self.secret is None else f"http://{MASK}@{bare}"

    def __repr__(self) -> str:
        return f"ProxyUrl({self.shown})"

    def __str__(self) -> str:
        return self.shown


class Exceptions:
    """Hosts that are connected to directly: what NO_PROXY lists, parted by commas or spaces.

    "*" is all; "a.example" and ".a.example" are that name and all below it; an address is itself,
    "10.0.0.0/8" the addresses of a network. A ":port" behind a name or address binds it to that.
    """

    def __init__(self, text: str = "") -> None:
        self._all = False
        self._networks: list[_Network] = []
        self._hosts: list[tuple[str | _Ip, int | None]] = []
        for entry in text.replace(",", " ").split():
            self._add(entry)

    def cover(self, host: str, port: int) -> bool:
        """Whether a host is to be connected to directly."""
        if self._all:
            return True
        address = _ip(host)
        if address is not None and any(address in network for network in self._networks):
            return True
        name = host.lower().rstrip(".")
        for wanted, only_port in self._hosts:
            if only_port is not None and only_port != port:
                continue
            if isinstance(wanted, str):
                if name == wanted or name.endswith(f".{wanted}"):
                    return True
            elif wanted == address:
                return True
        return False

    def _add(self, entry: str) -> None:
        if entry == "*":
            self._all = True
        elif "/" in entry:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                raise ValueError(f'"{entry}" is no network such as "10.0.0.0/8"') from None
        else:
            host, port = _parted(entry)
            bare = host.removeprefix("*").lstrip(".").rstrip(".").lower()
            if bare:
                self._hosts.append((_ip(host) or bare, port))


class Proxies:
    """Which proxy leads where. own: a provider's own choice, which has no exceptions."""

    def __init__(
        self, by_scheme: Mapping[str, Proxy | None], exceptions: Exceptions | None = None
    ) -> None:
        self._by_scheme = by_scheme
        self._exceptions = exceptions

    @classmethod
    def own(cls, chosen: ProxyUrl) -> Proxies:
        return cls(dict.fromkeys(VARIABLES, chosen.proxy))

    def of(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy on the way to a host; None connects directly.

        Without a provider's own choice, what is on this machine is never asked of a proxy, which
        would look for it on its own.
        """
        proxy = self._by_scheme.get(scheme)
        if proxy is None or self._exceptions is None:
            return proxy
        if is_loopback(host) or self._exceptions.cover(host, port):
            return None
        return proxy


DIRECT: Final = Proxies({})


def proxies_for(
    chosen: ProxyUrl | None, environ: Mapping[str, str]
) -> tuple[Proxies, list[tuple[str, str]]]:
    """What holds for providers without a choice of their own; and what is wrong, by variable.

    chosen: the configuration's main `proxy`, in the place of the environment's proxies; the
    environment's exceptions hold for it too.
    """
    faults: list[tuple[str, str]] = []
    found: dict[str, Proxy | None] = {}
    for scheme, names in VARIABLES.items():
        name, text = _first(names, environ)
        if chosen is not None:
            found[scheme] = chosen.proxy
        elif text:
            try:
                found[scheme] = parse(text)
            except ValueError as error:
                faults.append((name, f'{error}; proxy = "" connects without one'))
    exceptions = Exceptions()
    if any(found.values()):
        name, text = _first(EXCEPTIONS, environ)
        try:
            exceptions = Exceptions(text)
        except ValueError as error:
            faults.append((name, f"{error}; correct it or take it out of the list"))
    return Proxies(found, exceptions), faults


def parse(url: str) -> Proxy:
    """Read a proxy's URL; ValueError says what was wanted."""
    scheme = _SCHEME.match(url)
    try:
        parts = urlsplit(url if scheme else f"http://{url}")
        port = parts.port
    except ValueError:
        raise ValueError(WANTED) from None  # its own text quotes what may be a password
    if parts.scheme == "https":
        raise ValueError(
            "a proxy that is itself spoken to over TLS (https://) is not supported; "
            "use its http:// address, upstreams get TLS inside the tunnel"
        )
    if parts.scheme != "http" or not _is_bare(parts) or port == 0 or not url.isprintable():
        raise ValueError(WANTED)
    user = unquote_to_bytes(parts.username or "")
    password = unquote_to_bytes(parts.password or "")
    if b":" in user:
        raise ValueError("a proxy's user may hold no colon (RFC 7617 section 2)")
    assert parts.hostname is not None
    return Proxy(parts.hostname, port or _PORT_HTTP, user, password)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name (RFC 6761 section 6.3) or address."""
    name = host.lower().rstrip(".")
    address = _ip(host)
    if address is None:
        return name == "localhost" or name.endswith(".localhost")
    return address.is_loopback


def _is_bare(parts: SplitResult) -> bool:
    """Whether a URL names a host and nothing below it."""
    extra = parts.path.strip("/") or parts.query or parts.fragment
    return bool(parts.hostname) and not extra and " " not in parts.netloc


def _first(names: Iterable[str], environ: Mapping[str, str]) -> tuple[str, str]:
    for name in names:
        text = environ.get(name, "").strip()
        if text:
            return name, text
    return "", ""


def _parted(entry: str) -> tuple[str, int | None]:
    """A host and its port, of "a", "a:1", "[::1]:1" or a bare "::1"."""
    host, colon, port = entry.rpartition(":")
    if colon and port.isdecimal() and (":" not in host or host.endswith("]")):
        return host, int(port)
    return entry, None


def _ip(host: str) -> _Ip | None:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
