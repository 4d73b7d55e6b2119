"""The LiteLLM proxy: one worker, no data base, one model that is the mock.

It reads requests and answers and writes its own. Fields that begin with x- go up if it is told so
(its document "Forward Client Headers to LLM API"), and so the script reaches the mock.
"""

from __future__ import annotations

from typing import Any

import orjson

from bench.options import FIELDS
from bench.peers.install import Package, pinned
from bench.peers.kinds import Kind, Place, Started, free_port, listening

PACKAGE = Package("litellm", "pip")
# It does not start unless it asks callers for a key; this is the one that the load sends.
KEY = FIELDS["Authorization"].removeprefix("Bearer ")
# It imports for ten seconds and more.
READY_TIMEOUT_S = 120.0
ENVIRONMENT = {
    # Else it asks the network for a list of prices before it listens.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # As its document "Best Practices for Production" has it.
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
}


def config(upstream: str) -> dict[str, Any]:
    model = {"model": "openai/bench-1", "api_base": f"{upstream}/v1", "api_key": "sk-bench"}
    return {
        "model_list": [{"model_name": "bench-1", "litellm_params": model}],
        "general_settings": {"master_key": KEY, "forward_client_headers_to_llm_api": True},
        "litellm_settings": {"num_retries": 0, "request_timeout": 600, "telemetry": False},
    }


def start(place: Place) -> Started:
    """JSON is YAML too."""
    port = free_port()
    written = place.folder / "litellm.yaml"
    written.write_bytes(orjson.dumps(config(place.upstream)))
    command = [str(PACKAGE.folder / "bin" / "litellm"), "--config", str(written)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    process = place.child(command, ENVIRONMENT)
    listening(process, port, READY_TIMEOUT_S)
    return Started(f"http://127.0.0.1:{port}", process.pid)


KIND = Kind(
    "litellm", start, PACKAGE.missing, lambda: pinned(PACKAGE), PACKAGE.install, rewrites=True
)
