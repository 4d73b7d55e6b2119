"""Compile the hot path of the core: `python deploy/compile.py FOLDER` (`make compile`).

mypyc, which comes with mypy, makes C of the very modules that run as plain Python otherwise. FOLDER
gets a copy of `gateway` with the compiled modules beside their sources; whoever puts it first on
PYTHONPATH runs it, and nobody else does. It needs a C compiler and Python's headers.

Compiled is what a request passes through. Left as they are: modules of msgspec structures, what
runs at start or for errors only, `gateway.current` (see there), and plugins, which pluggy marks as
functions.
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
    "body",
    "caller",
    "chunks",
    "clock",
    "counts",
    "duplex",
    "entry",
    "exchange",
    "forwarded",
    "framing",
    "gateway",
    "handshake",
    "headers",
    "ids",
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
    "screened",
    "secure",
    "shapes",
    "sse",
    "strand",
    "summary",
    "switching",
    "upload",
    "upstream",
    "usage",
    "views",
    "websocket",
)


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(
        ROOT / "gateway", folder / "gateway", ignore=shutil.ignore_patterns("__pycache__")
    )
    os.chdir(folder)
    files = [f"gateway/{name}.py" for name in MODULES]
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
