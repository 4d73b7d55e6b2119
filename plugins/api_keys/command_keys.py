"""Makes, lists, changes and revokes the keys that callers show to this gateway."""

from __future__ import annotations

import sys

import click

from gateway.command import json_option, say, say_json

from .format import digest_of, hint_of, is_sound, make


@click.command("hash")
@click.argument("new", required=False, metavar="[new]")
@click.option("--prefix", default="weir-", show_default=True, help="What a new key begins with.")
@json_option
def hash_(new: str | None, prefix: str, as_json: bool) -> None:
    """Print a key's hash for config.toml: of a new key, or of the one on standard input."""


@click.group("keys", commands=[hash_])
def command() -> None:
    """Make, list, change and revoke the keys that callers show to this gateway."""
