"""aiohttp before aiohttp: `forwarder`, run by the interpreter of the bench with what is locked for
the gateway itself.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from bench.peers.kinds import READY_TIMEOUT_S, Kind, Place, Started, free_port, listening

SCRIPT = Path(__file__).with_name("forwarder").with_suffix(".py")


def start(place: Place) -> Started:
    """With -P the script's folder, whose modules bear the names of products, is not searched."""
    port = free_port()
    process = place.child([sys.executable, "-P", str(SCRIPT), place.upstream, str(port)])
    listening(process, port, READY_TIMEOUT_S)
    return Started(f"http://127.0.0.1:{port}/bench", process.pid)


def version() -> str:
    return f"aiohttp {metadata.version('aiohttp')} with uvloop {metadata.version('uvloop')}"


KIND = Kind("aiohttp", start, version=version)
