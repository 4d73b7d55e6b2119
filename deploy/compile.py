"""Compile the hot path of the core: `python deploy/compile.py FOLDER` (`make compile`).

mypyc, which comes with mypy, makes C of the very modules that run as plain Python otherwise. FOLDER
gets a copy of `gateway` and `plugins` with the compiled modules beside their sources; whoever puts
it first on PYTHONPATH runs it, and nobody else does. It needs a C compiler and Python's headers.

Compiled is what a request passes through. Left as they are: modules of msgspec structures, what
runs at start or for errors only, `gateway.current` (see there), and the hooks of plugins, which
pluggy marks as functions.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from mypyc.build import mypycify
from setuptools import setup

ROOT = Path(__file__).resolve().parent.parent
MODULES = (
    "asking",
    "attempting",
    "bearer",
    "body",
    "caller",
    "chunks",
    "clock",
    "counts",
    "decoding",
    "dialects/anthropic",
    "dialects/gemini",
    "dialects/loose",
    "dialects/openai",
    "dialects/openai_responses",
    "duplex",
    "entry",
    "exchange",
    "forms",
    "forwarded",
    "frames",
    "framing",
    "gateway",
    "handshake",
    "headers",
    "identity",
    "ids",
    "intake",
    "line",
    "lines",
    "listener",
    "message",
    "opening",
    "origins",
    "outlet",
    "plan",
    "pool",
    "providers",
    "reading",
    "refusal",
    "relay",
    "reply",
    "routes",
    "scopes",
    "screened",
    "secure",
    "shapes",
    "sse",
    "stated",
    "strand",
    "summary",
    "switching",
    "upload",
    "upstream",
    "usage",
    "views",
    "websocket",
)
# Of plugins, what is called for every request or event. A class that can be called and its base
# have to agree on that (`plugins.usage.watching.Watcher`).
PLUGINS = (
    "cost/charging",
    "cost/table",
    "ledger/journal",
    "ledger/records",
    "rate_limit/demand",
    "rate_limit/fields",
    "rate_limit/memory",
    "rate_limit/shapes",
    "usage/asking",
    "usage/aws",
    "usage/choosing",
    "usage/guessing",
    "usage/later",
    "usage/likeness",
    "usage/session",
    "usage/settling",
    "usage/watching",
    "usage/whole",
)


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for package in ("gateway", "plugins"):
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    os.chdir(folder)
    files = [f"gateway/{name}.py" for name in MODULES]
    files += [f"plugins/{name}.py" for name in PLUGINS]
    options = [f"--config-file={ROOT / 'pyproject.toml'}", *files]
    setup(
        name="weir-compiled",
        packages=[],
        script_args=["--quiet", "build_ext", "--inplace", "--build-temp", "temp"],
        ext_modules=mypycify(options, opt_level="3", debug_level="0", target_dir="c"),
    )
    for rest in ("temp", "c", "build"):
        shutil.rmtree(rest, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
