"""All that can be measured, by name, and the commands that install and list them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from bench.peers import envoy, haproxy, litellm, nginx, pair, portkey, tensorzero, weir
from bench.peers.install import InstallError
from bench.peers.kinds import Kind, Peer

ALL = "all"
# In the order of a table: proxies that only forward, then gateways that know what they carry.
FIELD = {
    kind.name: kind
    for kind in (
        envoy.KIND,
        haproxy.KIND,
        pair.KIND,
        portkey.KIND,
        tensorzero.KIND,
        litellm.KIND,
    )
}
KINDS: dict[str, Kind] = {kind.name: kind for kind in (nginx.KIND, weir.KIND, *FIELD.values())}


def named(names: Sequence[str]) -> list[Peer]:
    """The peers of these names, `all` for each there is; raises ValueError naming the unknown."""
    if unknown := sorted(set(names) - {ALL, *FIELD}):
        raise ValueError(f"no peer {', '.join(unknown)}; there are {', '.join([*FIELD, ALL])}")
    return [Peer(name, name) for name in (FIELD if ALL in names else dict.fromkeys(names))]


def install(kinds: Iterable[Kind]) -> int:
    """Each in turn; one that fails is named and the others go on. Gives how many failed."""
    failed = 0
    for kind in kinds:
        click.echo(f"{kind.name}: ", nl=False, err=True)
        try:
            if kind.install is not None:
                kind.install()
        except InstallError as error:
            failed += 1
            click.echo(f"left out, {error}", err=True)
        else:
            click.echo(kind.version(), err=True)
    return failed


def listed() -> list[list[str]]:
    """A head, and a line a peer: its name, what is pinned or found, and whether it can run."""
    lines = [["peer", "version", "here"]]
    for kind in FIELD.values():
        why = kind.missing()
        lines.append([kind.name, kind.version() or "-", why or "yes"])
    return lines
