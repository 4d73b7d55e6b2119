"""`weir version`."""

from __future__ import annotations

import importlib.metadata

import click

from gateway.cli.text import say


@click.command("version")
def command() -> None:
    """Print the version."""
    try:
        say(f"weir {importlib.metadata.version('weir')}")
    except importlib.metadata.PackageNotFoundError:
        say("weir, run from its source without being installed")
