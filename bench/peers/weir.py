"""The gateway with a list of plugins, its core compiled or not."""

from __future__ import annotations

import os
import sys

import orjson

from bench.peers.kinds import READY_TIMEOUT_S, ROOT, Kind, Peer, Place, Started
from bench.processes import child, first_line

COMPILED = ROOT / "build" / "compiled"
STAMP = COMPILED / ".stamp"
PYTHON = "python:"
ISSUE = ("request_id", "metadata", "credentials", "timing", "access_log")

# The mock is one origin, and thousands of streams to it are wanted at once.
WEIR = """\
state_dir = {folder}
enabled = {enabled}

[server]
host = "127.0.0.1"
port = 0
workers = {workers}

[admin]
host = "127.0.0.1"
port = 0

[limits]
connections_max = 20000
idle_upstream_max = 256

[providers.bench]
base_url = {upstream}
dialect = "openai"
connections_max = 20000
"""


def gateway(written: str) -> Peer:
    """`none`, `issue`, or names divided by commas (paths of plugin files count as names); with
    `python:` before it on the core that is not compiled.
    """
    known: dict[str, tuple[str, ...]] = {"none": (), "issue": ISSUE}
    plugins = written.removeprefix(PYTHON)
    names = known.get(plugins)
    if names is None:
        names = tuple(name.strip() for name in plugins.split(",") if name.strip())
    return Peer(f"weir {written}", "weir", names, "compiled" if plugins == written else "python")


def start(place: Place) -> Started:
    """The log goes to a file, as it would in service."""
    config = place.folder / "weir.toml"
    state, enabled, address = (
        orjson.dumps(value).decode()
        for value in (str(place.folder), list(place.peer.plugins), place.upstream)
    )
    config.write_text(
        WEIR.format(folder=state, enabled=enabled, upstream=address, workers=place.peer.workers)
    )
    paths = [str(COMPILED), str(ROOT)] if place.peer.core == "compiled" else [str(ROOT)]
    process = place.stack.enter_context(
        child(
            [sys.executable, "-m", "gateway", "run", "--config", str(config)],
            core=place.cores.proxy,
            cwd=place.folder,
            environment={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stderr=place.errors,
        )
    )
    ready = orjson.loads(first_line(process, READY_TIMEOUT_S))
    return Started(f"{ready['callers']}/bench", process.pid)


def is_compiled() -> bool:
    """Whether `make compile` has run since the last change of the core or its plugins."""
    if not STAMP.exists():
        return False
    made = STAMP.stat().st_mtime_ns
    sources = (path for name in ("gateway", "plugins") for path in (ROOT / name).rglob("*.py"))
    return all(path.stat().st_mtime_ns <= made for path in sources)


KIND = Kind("weir", start)
