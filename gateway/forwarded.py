"""Who the caller is, where a proxy stands before us: X-Forwarded-For and Forwarded (RFC 7239).

Anybody can write these fields, so they are believed of `server.trusted_proxies` only, and read from
the right: each proxy adds whom it saw, and the first address that is not itself a trusted proxy is
the caller. What stands to the left of it is the caller's own word. They go up as they came.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from gateway.refusal import Screen

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.exchange import Exchange
    from gateway.screened import Screened

UNIX: Final = "unix"
# Proxies are few; callers who come directly are told apart each time once this is full.
_REMEMBERED_MAX: Final = 1024
# One pair of Forwarded and what separates it from the next: a token or a quoted string (RFC 7239
# section 4). Space is taken possessively: there are two ways to share it out, and a caller may send
# 64 KiB of it.
_PAIR: Final = re.compile(
    rb'\s*+(?:([\w!#$%&\'*+.^`|~-]+)=("(?:[^"\\]|\\.)*"|[^\s",;]*))?\s*+([,;]|$)'
)


class Trust:
    """The proxies that are believed. networks: as in RFC 4632, such as "10.0.0.0/8"; "unix" is
    whoever comes by the Unix socket.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        names = tuple(networks)
        self._networks = [ipaddress.ip_network(name) for name in names if name != UNIX]
        self._known: dict[str, bool] = {UNIX: UNIX in names}

    def has(self, peer: str) -> bool:
        """Whether a socket's other end, "ADDRESS:PORT" or "unix", is one of them."""
        return self._holds(peer if peer == UNIX else peer.rpartition(":")[0])

    def caller(self, peer: str, forwarded_for: list[bytes], forwarded: list[bytes]) -> str:
        """Who the caller is, by the values of both fields.

        A proxy writes one of them and lets the other pass as the caller made it up. Where both
        are there and do not say the same, nobody knows which to believe: it is the proxy then.
        """
        if not self.has(peer):
            return peer
        found = {
            self._walk(peer, nodes)
            for nodes in (_listed(forwarded_for), _named(forwarded))
            if nodes is not None
        }
        return found.pop() if len(found) == 1 else peer

    def _walk(self, peer: str, nodes: list[str]) -> str:
        for node in reversed(nodes):
            address = _address_of(node)
            if address is None:
                return peer  # "unknown", or made up: the last one known is who says so
            peer = address
            if not self._holds(address):
                break
        return peer

    def _holds(self, text: str) -> bool:
        known = self._known.get(text)
        if known is None:
            known = self._is_inside(text)
            if len(self._known) < _REMEMBERED_MAX:
                self._known[text] = known
        return known

    def _is_inside(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        plain = getattr(address, "ipv4_mapped", None) or address
        return any(plain in network for network in self._networks)


class TrustingScreen(Screen):
    """A screen that also finds out whom a trusted proxy speaks for."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._trust = Trust(config.server.trusted_proxies)

    def pass_over(self, exchange: Exchange) -> Screened:
        flat = exchange.flat
        listed: list[bytes] = []
        named: list[bytes] = []
        for place in range(0, len(flat), 2):
            name = flat[place].lower()
            if name == b"x-forwarded-for":
                listed.append(flat[place + 1])
            elif name == b"forwarded":
                named.append(flat[place + 1])
        if listed or named:
            exchange.peer = self._trust.caller(exchange.peer, listed, named)
        return super().pass_over(exchange)


def screen_of(config: Config) -> Screen:
    """The screen that this configuration needs."""
    return TrustingScreen(config) if config.server.trusted_proxies else Screen(config)


def _listed(values: list[bytes]) -> list[str] | None:
    """The nodes of X-Forwarded-For; None without one."""
    if not values:
        return None
    return [node.decode("latin-1").strip() for node in b",".join(values).split(b",")]


def _named(values: list[bytes]) -> list[str] | None:
    """The `for` of each element of Forwarded, "" where one has none; None without the field."""
    if not values:
        return None
    text, place = b",".join(values), 0
    nodes = [""]
    while place < len(text):
        pair = _PAIR.match(text, place)
        if pair is None:
            return [""]  # not as it is written: nothing in it can be believed
        if pair[1] is not None and pair[1].lower() == b"for":
            nodes[-1] = pair[2].strip(b'"').decode("latin-1")
        if pair[3] == b",":
            nodes.append("")
        place = pair.end()
    return nodes


def _address_of(node: str) -> str | None:
    """The address of a node, which may have a port: "192.0.2.1:80", "[2001:db8::1]:80"; None for
    an obscured one.
    """
    if node.startswith("["):
        node = node[1:].partition("]")[0]
    elif node.count(":") == 1:
        node = node.partition(":")[0]
    try:
        return str(ipaddress.ip_address(node))
    except ValueError:
        return None
