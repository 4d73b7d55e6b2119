"""TensorZero's gateway, as its Python package starts it for OpenAI's SDK.

The gateway itself is published as a container's image only. The package carries the same code, in
Rust, and serves its OpenAI endpoint on a port of its own choice; Python does nothing but wait
meanwhile. No data base is given, so it records nothing. The mock's script goes up by what its
document "OpenAI-Compatible API" calls `tensorzero::extra_headers`, in the body.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import orjson

from bench.options import body_of
from bench.peers.install import Package, pinned
from bench.peers.kinds import Kind, Place, Started
from bench.script import Script, line

PACKAGE = Package("tensorzero", "pip")
READY_TIMEOUT_S = 60.0

LAUNCH = """\
import pathlib, signal, sys
from tensorzero.tensorzero import _start_http_gateway
gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None,
    async_setup=False,
)
whole = pathlib.Path(sys.argv[2])
half = whole.with_suffix(".half")
half.write_text(gateway.base_url)
half.rename(whole)
signal.pause()
"""

TENSORZERO = """\
[gateway.observability]
enabled = false

[models.bench]
routing = ["mock"]

[models.bench.providers.mock]
type = "openai"
model_name = "bench-1"
api_base = {upstream}
api_key_location = "none"
"""


def config(upstream: str) -> str:
    return TENSORZERO.format(upstream=orjson.dumps(f"{upstream}/v1").decode())


def body(script: Script) -> bytes:
    document = orjson.loads(body_of(script))
    document["model"] = "tensorzero::model_name::bench"
    document["tensorzero::extra_headers"] = [
        {
            "model_name": "bench",
            "provider_name": "mock",
            "name": "x-bench",
            "value": line(script) or "json=600",
        }
    ]
    return orjson.dumps(document)


def start(place: Place) -> Started:
    written, told = place.folder / "tensorzero.toml", place.folder / "address"
    written.write_text(config(place.upstream))
    python = str(PACKAGE.folder / "bin" / "python")
    process = place.child([python, "-c", LAUNCH, str(written), str(told)])
    address = appears(process, told, READY_TIMEOUT_S)
    return Started(address.rstrip("/").removesuffix("/v1"), process.pid, body=body)


def appears(process: subprocess.Popen[bytes], path: Path, timeout_s: float) -> str:
    """Wait for the file with the address; raises where the process ends or takes too long."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if path.exists():
            return path.read_text()
        if process.poll() is not None:
            raise ChildProcessError(f"it ended with {process.returncode} before it listened")
        time.sleep(0.01)
    raise TimeoutError(f"it did not listen within {timeout_s:g} s")


KIND = Kind(
    "tensorzero", start, PACKAGE.missing, lambda: pinned(PACKAGE), PACKAGE.install, rewrites=True
)
