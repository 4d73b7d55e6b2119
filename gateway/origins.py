"""Where requests go up: origins, and the patterns that find one by the path.

Most providers live at one address. Some put a region, a resource or a model into the host's name;
their rows say how by a pattern of the path and the URL that it stands for, as data. Two rules keep
a caller from choosing any other host than those meant: what fills a place in a host's name is a
single label of letters, digits and dashes, and what follows the base path may not climb out of it
by dot segments. Everything else of a path goes up byte for byte.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from gateway.errors import CallerFault
from gateway.proxies import DIRECT, Proxies, Proxy

PORTS: Final = {"http": 80, "https": 443}
# A caller can name any number of regions; the usual ones are few.
ORIGINS_MAX: Final = 256
# What a message quotes of a path at most.
QUOTED_MAX: Final = 80

_PLACE: Final = re.compile(r"\{([a-z_]+)\}")
# One label of a host's name (RFC 1035 section 2.3.4): no dot, so no other domain; nothing that
# ends a host in a URL.
_LABEL: Final = re.compile(rb"[A-Za-z0-9-]{1,63}")
# What somebody on the way may take for a dot, and what for a slash.
_DOT: Final = re.compile(rb"%2e", re.IGNORECASE)
_SEPARATOR: Final = re.compile(rb"%2f|%5c|\\", re.IGNORECASE)
# Segments that leave one where one is; an empty one is merged with its neighbour by some servers.
_NOWHERE: Final = frozenset({b"", b"."})


class Origin:
    """One server, as the pool knows it. key: equal where connections may be shared."""

    __slots__ = (
        "ca_file",
        "client_cert",
        "client_key",
        "host",
        "host_header",
        "key",
        "port",
        "proxy",
        "server_name",
        "socket",
        "tls",
    )

    def __init__(
        self,
        scheme: str,
        host: str,
        port: int | None = None,
        *,
        socket: str | None = None,
        ca_file: str | None = None,
        client_cert: str | None = None,
        client_key: str | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        shown = f"[{host}]" if ":" in host else host
        self.host = host
        self.port = PORTS[scheme] if port is None else port
        self.tls = scheme == "https"
        self.socket = socket
        self.ca_file = ca_file if self.tls else None
        self.client_cert = client_cert if self.tls else None
        self.client_key = client_key if self.tls else None
        self.proxy = proxy if socket is None else None
        self.server_name = host if self.tls else None
        is_usual = self.port == PORTS[scheme]
        self.host_header = (shown if is_usual else f"{shown}:{self.port}").encode()
        parts = [f"{scheme}://{shown}:{self.port}"]
        parts += [f"socket {socket}"] if socket is not None else []
        parts += [f"ca_file {ca_file}"] if self.ca_file is not None else []
        parts += [f"client_cert {client_cert}"] if self.client_cert is not None else []
        parts += [f"client_key {client_key}"] if self.client_key is not None else []
        parts += [f"proxy {self.proxy.key}"] if self.proxy is not None else []
        self.key = ", ".join(parts)


class Address:
    """A base URL with the connection settings of its provider, prepared for use.

    With places in it the origin is made when a request fills them, and remembered.
    """

    def __init__(
        self,
        url: str,
        *,
        socket: str | None = None,
        ca_file: str | None = None,
        client_cert: str | None = None,
        client_key: str | None = None,
        proxies: Proxies = DIRECT,
    ) -> None:
        """Take a URL apart; ValueError says what is wrong with it."""
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise ValueError("wanted an http:// or https:// URL with a host")
        self._scheme = parts.scheme
        self._host = parts.hostname
        self._port = parts.port
        self._socket = socket
        self._ca_file = ca_file
        self._client_cert = client_cert
        self._client_key = client_key
        self._proxies = proxies
        self._origins: dict[str, Origin] = {}
        self.path = parts.path
        self.places = frozenset(_PLACE.findall(self._host))
        self.all_places = frozenset(_PLACE.findall(url))

    def origin(self, values: dict[str, bytes]) -> Origin:
        """The origin with these values in its places; they have been checked."""
        host = self._host
        if self.places:
            host = _PLACE.sub(lambda place: values[place[1]].decode("ascii").lower(), host)
        found = self._origins.get(host)
        if found is None:
            if len(self._origins) >= ORIGINS_MAX:
                del self._origins[next(iter(self._origins))]
            scheme = self._scheme
            port = PORTS[scheme] if self._port is None else self._port
            found = Origin(
                scheme,
                host,
                port,
                socket=self._socket,
                ca_file=self._ca_file,
                client_cert=self._client_cert,
                client_key=self._client_key,
                proxy=self._proxies.of(scheme, host, port),
            )
            self._origins[host] = found
        return found


class Pattern:
    """One line of a row's `paths`: a form that a path may have, and the address that it stands for.

    pattern: segments and {places}, and perhaps a last "*". address: whose path may hold the same
    places and end in "*" (the rest) or "**" (the whole path as it came).
    """

    def __init__(self, pattern: str, address: Address) -> None:
        self.text = pattern
        self._has_rest = pattern.endswith("*")
        whole = pattern.removesuffix("*").removesuffix("/")
        self._segments = [segment.encode() for segment in whole.split("/")] if whole else []
        self._address = address
        self._ending = address.path[len(address.path.rstrip("*")) :]
        self._pieces = _PLACE.split(address.path.rstrip("*"))
        self._captures = frozenset(_PLACE.findall(pattern))

    @property
    def unfilled(self) -> set[str]:
        """Places of the address that neither the pattern nor the account can fill."""
        return set(self._address.all_places - self._captures - {"account"})

    def locate(self, path: bytes, account: str | None) -> tuple[Origin, bytes] | None:
        """Where a path of this form goes, or None for a path of another form."""
        bare, mark, query = path.partition(b"?")
        values = self._match(bare)
        if values is None:
            return None
        rest = values.pop("*", b"")
        if "account" not in values and "account" in self._address.all_places:
            values["account"] = _account(account)
        for name, value in values.items():
            if name in self._address.places and _LABEL.fullmatch(value) is None:
                raise CallerFault(
                    f'"{quoted(value)}" cannot stand for {{{name}}} in {self.text}: '
                    "only letters, digits and dashes can, at most 63.",
                    status=404,
                    code="bad_path",
                )
            refuse_climbing(value)
        if self._ending == "**":
            rest = bare
        refuse_climbing(rest)
        pieces = [
            piece.encode() if index % 2 == 0 else values[piece]
            for index, piece in enumerate(self._pieces)
        ]
        return self._address.origin(values), b"".join([*pieces, rest, mark, query])

    def _match(self, bare: bytes) -> dict[str, bytes] | None:
        """What the places hold, and the rest under "*"; None if the path has another form."""
        wanted = self._segments
        given = bare.split(b"/", len(wanted)) if wanted else [bare]
        rest = given[len(wanted) :]
        if len(given) < len(wanted) or bool(rest) != self._has_rest:
            return None
        values = {"*": rest[0]} if rest else {}
        for segment, value in zip(wanted, given, strict=False):
            if segment[:1] != b"{":
                if segment != value:
                    return None
            elif not value:
                return None
            else:
                values[segment[1:-1].decode()] = value
        return values


def refuse_climbing(path: bytes) -> None:
    """Refuse a path whose dot segments lead above where it starts, however they are written.

    Servers differ in what they decode and merge before they resolve dot segments, so the reading
    that climbs highest counts: empty segments go nowhere, an encoded slash parts only what climbs,
    and a segment's parameters (after a semicolon) do not count.
    """
    if b".." not in path and b"%2" not in path:
        return
    depth = 0
    bare = _DOT.sub(b".", path.partition(b"?")[0])
    for segment in bare.split(b"/"):
        parts = [part.partition(b";")[0] for part in _SEPARATOR.split(segment)]
        ups = parts.count(b"..")
        depth += -ups if ups else not _NOWHERE.issuperset(parts)
        if depth < 0:
            raise CallerFault(
                "The path leads out of the provider's own path by dot segments.", code="bad_path"
            )


def quoted(text: bytes) -> str:
    """A piece of a request for a message, cut where it is long."""
    shown = text.decode("utf-8", "replace")
    return shown if len(shown) <= QUOTED_MAX else shown[: QUOTED_MAX - 3] + "..."


def _account(account: str | None) -> bytes:
    if not account:
        raise CallerFault(
            "The provider's address holds an account: name it in the path, as in "
            "/v1/{account}/{gateway}/{provider}/..., or in the base_url of the provider's table.",
            status=404,
            code="no_account",
        )
    return account.encode()
