"""`weir version`."""

from __future__ import annotations

import importlib.metadata

import click

from gateway import line
from gateway.cli.text import say


@click.command("version")
def command() -> None:
    """Print the version, and whether the core is compiled."""
    core = ", compiled core" if str(line.__file__).endswith((".so", ".pyd")) else ""
    try:
        say(f"weir {importlib.metadata.version('weir')}{core}")
    except importlib.metadata.PackageNotFoundError:
        say("weir, run from its source without being installed")
