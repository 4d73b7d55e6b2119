"""Envoy, from the wheel that carries its binary, with one worker thread.

What of Envoy's defaults would tell against it here is set as its documents advise for an edge that
forwards unchanged: no request id of its own, no x-envoy fields, no time limit for a stream.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from bench.peers.install import Package, pinned
from bench.peers.kinds import READY_TIMEOUT_S, Kind, Place, Started, free_port, listening

PACKAGE = Package("envoy", "pip")
EXTENSIONS = "type.googleapis.com/envoy.extensions.filters"
MANY = 20_000


def binary() -> Path:
    """The wheel has it beside its module; the script in bin/ would only start it."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return PACKAGE.folder / "lib" / version / "site-packages" / "envoy" / "_bin" / "envoy"


def config(port: int, upstream: str) -> dict[str, Any]:
    """Envoy reads its configuration as JSON too (config/bootstrap/v3)."""
    parts = urlsplit(upstream)
    route = {
        "match": {"prefix": "/bench/"},
        "route": {"cluster": "up", "prefix_rewrite": "/", "timeout": "0s"},
    }
    manager = {
        "@type": f"{EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "HTTP1",
        "generate_request_id": False,
        "stream_idle_timeout": "0s",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {
                    "@type": f"{EXTENSIONS}.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            }
        ],
    }
    limits = {"max_connections": MANY, "max_pending_requests": MANY, "max_requests": MANY}
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "in",
                    "address": address("127.0.0.1", port),
                    "tcp_backlog_size": 4096,
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "up",
                    "type": "STATIC",
                    "connect_timeout": "5s",
                    "circuit_breakers": {"thresholds": [limits]},
                    "load_assignment": {
                        "cluster_name": "up",
                        "endpoints": [{"lb_endpoints": [endpoint(parts.hostname, parts.port)]}],
                    },
                }
            ],
        }
    }


def address(host: str | None, port: int | None) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def endpoint(host: str | None, port: int | None) -> dict[str, Any]:
    return {"endpoint": {"address": address(host, port)}}


def start(place: Place) -> Started:
    port = free_port()
    written = place.folder / "envoy.json"
    written.write_bytes(orjson.dumps(config(port, place.upstream)))
    command = [str(binary()), "-c", str(written), "--concurrency", "1", "--disable-hot-restart"]
    process = place.child([*command, "--log-level", "warn"])
    listening(process, port, READY_TIMEOUT_S)
    return Started(f"http://127.0.0.1:{port}/bench", process.pid)


def missing() -> str:
    if why := PACKAGE.missing():
        return why
    return "" if binary().exists() else f"its wheel has no binary for {platform.platform()}"


KIND = Kind("envoy", start, missing, lambda: pinned(PACKAGE), PACKAGE.install)
