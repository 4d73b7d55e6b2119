"""`weir version`."""

from __future__ import annotations

import importlib.metadata

import click

from gateway import line
from gateway.cli.text import json_option, say, say_json


@click.command("version")
@json_option
def command(as_json: bool) -> None:
    """Print the version, and whether the core is compiled."""
    is_compiled = str(line.__file__).endswith((".so", ".pyd"))
    version = _version()
    if as_json:
        say_json({"version": version, "compiled": is_compiled})
    elif version is None:
        say("weir, run from its source without being installed")
    else:
        say(f"weir {version}{', compiled core' if is_compiled else ''}")


def _version() -> str | None:
    try:
        return importlib.metadata.version("weir")
    except importlib.metadata.PackageNotFoundError:
        return None
