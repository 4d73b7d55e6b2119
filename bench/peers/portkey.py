"""Portkey's gateway on Node. It has no configuration: each request says where it goes.

The script reaches the mock because its field is among those to forward. With the newest
@hono/node-server its streams end in a 500, for their heads cannot be changed (Portkey-AI/gateway,
pull request 1390); the lock file holds it to the version that Portkey's own names.
"""

from __future__ import annotations

import shutil

from bench.peers.install import Package, pinned
from bench.peers.kinds import Kind, Place, Started, free_port, listening

PACKAGE = Package("portkey", "npm")
SERVER = "node_modules/@portkey-ai/gateway/build/start-server.js"
READY_TIMEOUT_S = 30.0


def fields(upstream: str) -> dict[str, str]:
    """Its document "Headers" lists these."""
    return {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"{upstream}/v1",
        "x-portkey-forward-headers": "x-bench",
    }


def start(place: Place) -> Started:
    port, node = free_port(), shutil.which("node")
    if node is None:
        raise FileNotFoundError("node is not installed")
    command = [node, str(PACKAGE.folder / SERVER), "--headless", f"--port={port}"]
    process = place.child(command, {"NODE_ENV": "production"})
    listening(process, port, READY_TIMEOUT_S)
    return Started(f"http://127.0.0.1:{port}", process.pid, fields(place.upstream))


def missing() -> str:
    return PACKAGE.missing() if shutil.which("node") else "node is not installed"


KIND = Kind("portkey", start, missing, lambda: pinned(PACKAGE), PACKAGE.install, rewrites=True)
