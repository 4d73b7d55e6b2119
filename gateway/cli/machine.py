"""What `weir doctor` looks at on this machine: descriptors, ports, the state directory.

A `Check` is one line: what was looked at, how it is, and what to do about it. `fail` is what keeps
the gateway from working, `warn` what may.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway.cli import probe
from gateway.config import Config

State = Literal["ok", "warn", "fail"]

OTHERS: Final = stat.S_IRWXO | stat.S_IRWXG
MACHINE: Final = "machine"
# Beside two sockets an exchange: listeners, logs, libraries, plugins' files.
DESCRIPTORS_SPARE: Final = 64
_OURS: Final = "a gateway of ours listens on"
_HELD: Final = "is held by something else"
# What `gateway.admin` says at /livez, and `gateway.routes` of a path that leads nowhere.
_ADMIN_SIGN: Final = ("/livez", b"live\n")
_CALLERS_SIGN: Final = ("/", b'{"error":{"code":"no_route"')


class Check(msgspec.Struct, frozen=True):
    """One finding. about: "machine", or a provider's name. text: ends with the way out, if one is
    needed.
    """

    about: str
    check: str
    state: State
    text: str


async def checks(config: Config, timeout_s: float) -> list[Check]:
    """Everything about this machine that a start depends on."""
    server, admin = config.server, config.admin
    operators = await _port("admin", admin.host, admin.port, _ADMIN_SIGN, timeout_s)
    # Behind TLS or the PROXY protocol a plain question is not answered: the admin port tells.
    is_plain = not (server.tls_cert or server.proxy_protocol)
    sign = _CALLERS_SIGN if is_plain else None
    callers = await _port("server", server.host, server.port, sign, timeout_s)
    is_held = not is_plain and callers.text.find(_HELD) >= 0
    if is_held and operators.text.startswith(_OURS):
        text = f"{server.host}:{server.port} is held, by the gateway of the admin port it seems"
        callers = Check(MACHINE, callers.check, "ok", text)
    return [_descriptors(config), callers, operators, _state(config.state_path)]


def private(paths: Iterable[Path]) -> Iterator[str]:
    """A line for each path that is there and that more people than its owner may use."""
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError:
            continue  # made at the first start, or told as missing elsewhere
        if mode & OTHERS:
            yield f"{path}: mode {stat.S_IMODE(mode):04o} lets others in; chmod go= {path}"


def _descriptors(config: Config) -> Check:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * config.limits.connections_max + DESCRIPTORS_SPARE
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        shown = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
        return Check(MACHINE, "descriptors", "ok", f"{shown}, {wanted} are enough")
    return Check(
        MACHINE,
        "descriptors",
        "warn",
        f"the hard limit is {hard}, and limits.connections_max = {config.limits.connections_max} "
        f"may want {wanted}; raise it (ulimit -Hn, LimitNOFILE=, --ulimit) or lower the key",
    )


async def _port(
    table: str, host: str, port: int, sign: tuple[str, bytes] | None, timeout_s: float
) -> Check:
    name = f"{table}.port"
    if not port:
        return Check(MACHINE, name, "ok", "0: any free one is taken at the start")
    error = _bind_error(host, port)
    if error is None:
        return Check(MACHINE, name, "ok", f"{host}:{port} is free")
    if error.errno == errno.EADDRINUSE:
        if sign is not None and await _is_ours(host, port, sign, timeout_s):
            return Check(MACHINE, name, "ok", f"{_OURS} {host}:{port}")
        text = f"{host}:{port} {_HELD}; set another {name} or stop what listens"
        return Check(MACHINE, name, "fail", text)
    ways = {
        errno.EACCES: f"set a {name} of 1024 or more, or give the process CAP_NET_BIND_SERVICE",
        errno.EADDRNOTAVAIL: f"set {table}.host to an address of this machine",
    }
    way = ways.get(error.errno or 0, f"set another {table}.host or {name}")
    return Check(MACHINE, name, "fail", f"{host}:{port}: {probe.reason(error)}; {way}")


def _bind_error(host: str, port: int) -> OSError | None:
    """Why the port cannot be listened on now, or None."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as made:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                made.bind(address)
    except OSError as error:
        return error
    return None


async def _is_ours(host: str, port: int, sign: tuple[str, bytes], timeout_s: float) -> bool:
    target, words = sign
    try:
        async with asyncio.timeout(timeout_s):
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
            answer = await probe.fetch(host, port, target.encode())
    except (OSError, probe.ProbeError):
        return False
    return answer.body.find(words) >= 0


def _state(path: Path) -> Check:
    """The state directory, or where it will be made."""
    name = "state_dir"
    way = "set state_dir (or WEIR_STATE_DIR) to a directory that can be written"
    there = next(
        folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists()
    )
    if not there.is_dir():
        return Check(MACHINE, name, "fail", f"{there} is no directory; {way}")
    if not os.access(there, os.W_OK | os.X_OK):
        return Check(MACHINE, name, "fail", f"{there} cannot be written; {way}")
    if there != path.absolute():
        return Check(MACHINE, name, "ok", f"{path} is made at the first start")
    faults = list(private([path, path / "admin.token"]))
    if faults:
        return Check(MACHINE, name, "warn", "; ".join(faults))
    return Check(MACHINE, name, "ok", f"{path} is its owner's alone")
