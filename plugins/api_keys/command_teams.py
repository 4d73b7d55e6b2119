"""Makes, lists, changes and deletes the teams that keys belong to."""

from __future__ import annotations

from typing import Any

import click

from gateway.command import say, say_json, say_rows

from .asking import Asked
from .command_keys import ask, common, say_fields
from .options import PAIR, clearing, fields, rules

_PROVIDER_KEY = click.option(
    "--provider-key",
    "provider_keys",
    type=PAIR,
    multiple=True,
    metavar="PROVIDER=env:NAME",
    help="The team's own key of a provider, by reference.",
)


@click.command("create")
@common
@click.option("--name", required=True, help="What keys call it.")
@rules
@_PROVIDER_KEY
def create(path: str | None, as_json: bool, url: str | None, offline: bool, **given: Any) -> None:
    """Make a team."""
    found = ask(path, url, offline, Asked("POST", ("teams",), body=fields(given)))
    say_fields(found, as_json)


@click.command("list")
@common
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--cursor", default="", metavar="NAME", help="Only what is behind this team.")
def list_(
    path: str | None, as_json: bool, url: str | None, offline: bool, limit: int, cursor: str
) -> None:
    """List teams."""
    query = {"limit": str(limit), "cursor": cursor}
    found = ask(path, url, offline, Asked("GET", ("teams",), query))
    if as_json:
        say_json(found)
        return
    rows = [
        (team["name"], "works" if team["enabled"] else "disabled", team["created_at"])
        for team in found["teams"]
    ]
    say_rows([("name", "state", "created"), *rows])
    if found["next"]:
        say(f"there are more: --cursor {found['next']}", err=True)


@click.command("show")
@common
@click.argument("name")
def show(path: str | None, as_json: bool, url: str | None, offline: bool, name: str) -> None:
    """Show a team's fields."""
    say_fields(ask(path, url, offline, Asked("GET", ("teams", name))), as_json)


@click.command("update")
@common
@click.argument("name")
@rules
@_PROVIDER_KEY
@clearing
def update(
    path: str | None, as_json: bool, url: str | None, offline: bool, name: str, **given: Any
) -> None:
    """Change fields of a team; a list takes the place of the one before."""
    asked = Asked("PATCH", ("teams", name), body=fields(given))
    say_fields(ask(path, url, offline, asked), as_json)


@click.command("delete")
@common
@click.argument("name")
def delete(path: str | None, as_json: bool, url: str | None, offline: bool, name: str) -> None:
    """Delete a team that has no keys."""
    found = ask(path, url, offline, Asked("DELETE", ("teams", name)))
    if as_json:
        say_json(found)
    else:
        say(f"{name} is deleted")


@click.group("teams", commands=[create, list_, show, update, delete])
def command() -> None:
    """Make, list, change and delete the teams that keys belong to."""
