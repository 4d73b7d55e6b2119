"""What a caller's request must be before it becomes an exchange.

llhttp has refused broken syntax by now. Here stands the rest: what is valid HTTP but nothing a
reverse proxy may pass on (two hosts, absolute-form, a second transfer coding, HTTP/0.9), what
exceeds a bound that the head announces, and what a web page in a browser on the same machine must
not be able to do (promise 11). Whatever is refused here never reaches an upstream. The same pass
over the fields sorts out which of them may go up.
"""

from __future__ import annotations

import ipaddress
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gateway.clock import date
from gateway.dialects import shape_error
from gateway.headers import HOP_BY_HOP, named_by_connection
from gateway.screened import Screened
from gateway.shapes import Passed, Shapes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.config import Config
    from gateway.exchange import Exchange

# A Host is a name or address and an optional port (RFC 9110 section 7.2, RFC 3986 section 3.2.2),
# nothing else.
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_ABSOLUTE: Final = re.compile(rb"http://([^/?#]*)(/.*)", re.IGNORECASE | re.DOTALL)
# Hosts and targets seen and allowed before are remembered, up to this many and this long; the rest
# is worked out each time.
_REMEMBERED_MAX: Final = 1024
_REMEMBERED_BYTES_MAX: Final = 256

_DROP: Final = 0
_HOSTS: Final = 1
_LENGTH: Final = 2
_CODING: Final = 3
_CONNECTION: Final = 4
_EXPECT: Final = 5
_ORIGIN: Final = 6
_SITE: Final = 7
_CONTROL: Final = 8
_KINDS_COUNT: Final = 9
# With one of these in it, a head is gone through field by field.
_ODD: Final = frozenset({_CODING, _EXPECT, _ORIGIN, _SITE, _CONTROL})
_KEEPS: Final = (b"keep-alive", b"Keep-Alive")
_TOO_LARGE: Final = "The request's body is too large."
_KINDS: Final = dict.fromkeys(HOP_BY_HOP, _DROP) | {
    b"host": _HOSTS,
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"connection": _CONNECTION,
    b"expect": _EXPECT,
    b"origin": _ORIGIN,
    b"sec-fetch-site": _SITE,
}


class Refusal(Exception):
    """A request that ends before it is an exchange. detail: for the log; it may name the setting
    that decided.
    """

    def __init__(self, status: int, code: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail


class Screen:
    """The rules of one configuration."""

    def __init__(self, config: Config) -> None:
        server = config.server
        hosts = {name.lower() for gateway in config.gateways.values() for name in gateway.hosts}
        hosts |= {name.lower() for name in server.allowed_hosts} | {server.host.lower()}
        self._hosts = hosts
        self._any_host = "*" in hosts
        self._any_address = _is_wildcard(server.host)
        self._origins = {o.lower().encode() for o in server.allowed_origins + server.cors_origins}
        self._prefixes = tuple(prefix.encode() for prefix in server.header_prefixes)
        self._body_bytes_max = config.limits.body_bytes_max
        self._known: set[bytes] = set()
        self._targets: set[bytes] = set()
        self._shapes = Shapes(_KINDS_COUNT, self._kind_of, odd=_ODD)

    def _kind_of(self, lower: bytes) -> int | None:
        return _CONTROL if lower.startswith(self._prefixes) else _KINDS.get(lower)

    def pass_over(self, exchange: Exchange) -> Screened:
        """Judge the head; raises `Refusal`."""
        flat = exchange.flat
        values = tuple(flat[1::2])
        names = tuple(flat[::2])
        shape = self._shapes.known.get(names) or self._shapes.work_out(names)
        at = shape.at
        if (
            shape.is_odd
            or at[_HOSTS] < 0
            or exchange.target not in self._targets
            or exchange.version != "1.1"
            or exchange.method == b"CONNECT"
        ):
            return self._pass_slowly(exchange)
        host = values[at[_HOSTS]]
        place = at[_CONNECTION]
        if host not in self._known or (place >= 0 and values[place] not in _KEEPS):
            return self._pass_slowly(exchange)
        found = Screened(host, Passed(flat, values, shape))
        place = at[_LENGTH]
        if place >= 0:
            found.size = size = int(values[place])
            found.has_length = True
            if size > self._body_bytes_max:
                raise Refusal(413, "body_bytes", _TOO_LARGE, "body_bytes_max")
        return found

    def _pass_slowly(self, exchange: Exchange) -> Screened:
        """The same for any head: field by field."""
        if exchange.version not in ("1.1", "1.0"):
            raise Refusal(505, "http_version", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
        target = exchange.target
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is not None:
            target = exchange.target = exchange.path = absolute[2]
        if target[:1] != b"/" or target.find(b"#") >= 0 or exchange.method == b"CONNECT":
            raise Refusal(*_bad_target(exchange))
        _remember(self._targets, target)
        found = Screened()
        upward: list[tuple[bytes, bytes]] = []
        prefixes = self._prefixes
        connection: list[bytes] = []
        hosts: list[bytes] = []
        origins: list[bytes] = []
        sites: list[bytes] = []
        for pair in exchange.headers.items:
            lower = pair[0].lower()
            kind = _KINDS.get(lower)
            if kind is None:
                if lower.startswith(prefixes):
                    self._control(exchange, lower, pair[1])
                else:
                    upward.append(pair)
            elif kind == _HOSTS:
                hosts.append(pair[1])
            elif kind == _LENGTH:
                found.size = int(pair[1])
                found.has_length = True
            elif kind == _CODING:
                self._coding(exchange, pair[1], found)
            elif kind == _CONNECTION:
                connection.append(pair[1])
            elif kind == _EXPECT:
                _expectation(exchange, pair[1], found)
            elif kind == _ORIGIN:
                origins.append(pair[1])
                upward.append(pair)
            elif kind == _SITE:
                sites.append(pair[1])
                upward.append(pair)
        if absolute is not None:  # its authority counts, Host does not (RFC 9112 section 3.2.2)
            hosts = [absolute[1]] * len(hosts)
        self._host(exchange, hosts, found)
        if origins or sites:
            self._page(found.host, origins, sites)
        if connection or exchange.version == "1.0":
            named = named_by_connection(connection)
            found.keep = (
                b"keep-alive" in named if exchange.version == "1.0" else b"close" not in named
            )
            if not named <= _USUAL:
                upward = [pair for pair in upward if pair[0].lower() not in named]
        if found.size is not None and found.size > self._body_bytes_max:
            raise Refusal(413, "body_bytes", _TOO_LARGE, "body_bytes_max")
        found.passed = Passed.only(upward)
        return found

    def _control(self, exchange: Exchange, lower: bytes, value: bytes) -> None:
        """A field that is ours: kept for plugins, never sent up. The caller's prefix is the one we
        answer with.
        """
        if exchange.controls is None:
            exchange.controls = {}
            exchange.prefix = next(prefix for prefix in self._prefixes if lower.startswith(prefix))
        exchange.controls.setdefault(lower, value)

    def _coding(self, exchange: Exchange, value: bytes, found: Screened) -> None:
        if exchange.version == "1.0":
            raise Refusal(400, "bad_request", "HTTP/1.0 has no Transfer-Encoding.")
        if value.strip().lower() != b"chunked":
            raise Refusal(
                501, "transfer_coding", "The only Transfer-Encoding understood here is chunked."
            )
        found.is_chunked = True
        found.size = None

    def _host(self, exchange: Exchange, hosts: list[bytes], found: Screened) -> None:
        if len(hosts) != 1:
            if hosts or exchange.version == "1.1":
                raise Refusal(400, "bad_host", "A request needs exactly one Host field.")
            return
        host = found.host = hosts[0].strip()
        if host in self._known:
            return
        if _HOST.fullmatch(host) is None:
            raise Refusal(
                400,
                "bad_host",
                "The Host field is not a host name or address with an optional port.",
            )
        name = _without_port(host.decode("ascii").lower())
        if not (
            self._any_host
            or name in self._hosts
            or is_loopback_name(name)
            or self._is_literal(name)
        ):
            raise Refusal(
                403,
                "host_not_allowed",
                f'This gateway does not serve the host "{name}"; '
                "its operator can add it to server.allowed_hosts.",
            )
        _remember(self._known, host)

    def _page(self, host: bytes, origins: list[bytes], sites: list[bytes]) -> None:
        """A browser's page of another origin is let in only by name."""
        if b"*" in self._origins:
            return
        if origins:
            foreign = any(self._is_foreign(origin.strip().lower(), host) for origin in origins)
        else:
            foreign = any(site.strip().lower() in (b"cross-site", b"same-site") for site in sites)
        if foreign:
            raise Refusal(
                403,
                "origin_not_allowed",
                "Web pages of another origin may not use this gateway; "
                "its operator can add the page's origin to server.allowed_origins.",
            )

    def _is_foreign(self, origin: bytes, host: bytes) -> bool:
        return origin not in self._origins and origin.partition(b"://")[2] != host.lower()

    def _is_literal(self, name: str) -> bool:
        """On a wildcard address any literal address is our own; only a name can be rebound by its
        owner's DNS.
        """
        return self._any_address and _address(name) is not None


# What a Connection field mostly names; these are dropped, or no fields, anyway.
_USUAL: Final = frozenset({b"keep-alive", b"close", b"te", b"upgrade", b"transfer-encoding"})


def is_loopback_name(name: str) -> bool:
    """localhost, anything under it (RFC 6761 section 6.3), and the loopback addresses."""
    address = _address(name)
    return (
        name == "localhost"
        or name.endswith(".localhost")
        or (address is not None and address.is_loopback)
    )


def is_host_allowed(host: str, allowed: Iterable[str], bound: str) -> bool:
    """Whether an admin request's Host may be served: the same rule as for callers."""
    name = _without_port(host.lower())
    names = {entry.lower() for entry in allowed} | {bound.lower()}
    literal = _is_wildcard(bound) and _address(name) is not None
    return "*" in names or name in names or is_loopback_name(name) or literal


def head_too_large(target_bytes: int, head_bytes: int) -> Refusal:
    """A head beyond its bound, of which the target may be the most (RFC 9112 section 3)."""
    if 2 * target_bytes > head_bytes:
        text = "The request's target is too long."
        return Refusal(414, "target_bytes", text, "header_bytes_max")
    return Refusal(431, "header_bytes", "The request's head is too large.", "header_bytes_max")


def refusal_bytes(refusal: Refusal, *, is_head: bool = False) -> bytes:
    """The whole answer to a refused request; the connection ends with it. is_head: leave the
    content out, as of any answer to HEAD (RFC 9110 section 9.3.2).
    """
    body = shape_error("plain", refusal.status, refusal.code, refusal.message)
    return (
        b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"Cache-Control: no-store\r\nDate: %b\r\nConnection: close\r\n\r\n%b"
    ) % (
        refusal.status,
        reason_of(refusal.status),
        len(body),
        date(),
        b"" if is_head else body,
    )


def reason_of(status: int) -> bytes:
    """The registered reason phrase, or an empty one."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


def _remember(known: set[bytes], text: bytes) -> None:
    if len(text) <= _REMEMBERED_BYTES_MAX:
        if len(known) >= _REMEMBERED_MAX:
            known.clear()  # those in use are back at once
        known.add(text)


def _bad_target(exchange: Exchange) -> tuple[int, str, str]:
    if exchange.method == b"CONNECT":
        return 501, "method", "CONNECT is not served here: this is a reverse proxy."
    if exchange.target == b"*":
        return 400, "bad_target", "OPTIONS * asks about no provider; name one in the path."
    if b"#" in exchange.target:
        return 400, "bad_target", "A request target has no fragment."
    return (
        400,
        "bad_target",
        "The request target must be a path: this is a reverse proxy, not a forward one.",
    )


def _expectation(exchange: Exchange, value: bytes, found: Screened) -> None:
    if value.strip().lower() != b"100-continue":
        raise Refusal(417, "expectation", "The only expectation met here is 100-continue.")
    found.expects = exchange.version == "1.1"


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1 : host.find("]")]
    return host.partition(":")[0]


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_wildcard(host: str) -> bool:
    address = _address(host)
    return not host or (address is not None and address.is_unspecified)
