"""Makes, lists, changes and revokes the keys that callers show to this gateway."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from gateway import StartError
from gateway.command import (
    admin_url,
    config_option,
    in_force,
    json_option,
    say,
    say_json,
    say_rows,
)

from .asking import Asked, Asking
from .format import digest_of, make
from .options import clearing, fields, rules

_HEAD = ("id", "name", "team", "user", "hint", "state", "uses", "last used")
_GONE = "The key is shown this once."


_COMMON: Final = (
    config_option,
    json_option,
    click.option("--url", help="Of the admin listener. Default: what the configuration says."),
    click.option("--offline", is_flag=True, help="Ask no gateway; go straight to the store."),
)


def common(command: Any) -> Any:
    """Where to ask, and how to print. The command gets `path`, `as_json`, `url` and `offline`."""
    for option in reversed(_COMMON):
        command = option(command)
    return command


def ask(path: str | None, url: str | None, offline: bool, asked: Asked) -> dict[str, Any]:
    """Ask the gateway of the configuration, or its store."""
    config, table = in_force(path, "api_keys")
    if url is None and config.admin.port:
        url = admin_url(config)
    return Asking(config, table, url, offline=offline).ask(asked)


def prefix_of(path: str | None) -> str:
    """What new keys begin with; the usual where the configuration cannot be read."""
    try:
        return str(in_force(path, "api_keys")[1].prefix)
    except StartError:
        return "weir-"


@click.command("create")
@common
@click.option("--name", required=True, help="What it is called in lists and logs.")
@click.option("--id", "id_", help="What it is called in paths and rows; made where left out.")
@click.option("--team", help="The team that it belongs to.")
@click.option("--user", help="Who uses it.")
@rules
def create(
    path: str | None, as_json: bool, url: str | None, offline: bool, id_: str | None, **given: Any
) -> None:
    """Make a key and show it, once."""
    body = fields({"id": id_, **given})
    _say_key(ask(path, url, offline, Asked("POST", ("keys",), body=body)), as_json)


@click.command("list")
@common
@click.option("--team", default="", help="Only keys of this team.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--cursor", default="", metavar="ID", help="Only what is behind this key.")
def list_(
    path: str | None,
    as_json: bool,
    url: str | None,
    offline: bool,
    team: str,
    limit: int,
    cursor: str,
) -> None:
    """List keys."""
    query = {"team": team, "limit": str(limit), "cursor": cursor}
    found = ask(path, url, offline, Asked("GET", ("keys",), query))
    if as_json:
        say_json(found)
        return
    say_rows([_HEAD, *(_row(key) for key in found["keys"])])
    if found["next"]:
        say(f"there are more: --cursor {found['next']}", err=True)


@click.command("show")
@common
@click.argument("id_", metavar="ID")
def show(path: str | None, as_json: bool, url: str | None, offline: bool, id_: str) -> None:
    """Show a key's fields."""
    say_fields(ask(path, url, offline, Asked("GET", ("keys", id_))), as_json)


@click.command("update")
@common
@click.argument("id_", metavar="ID")
@click.option("--name", help="What it is called in lists and logs.")
@click.option("--team", help="The team that it belongs to.")
@click.option("--user", help="Who uses it.")
@rules
@clearing
def update(
    path: str | None, as_json: bool, url: str | None, offline: bool, id_: str, **given: Any
) -> None:
    """Change fields of a key; a list takes the place of the one before."""
    asked = Asked("PATCH", ("keys", id_), body=fields(given))
    say_fields(ask(path, url, offline, asked), as_json)


@click.command("rotate")
@common
@click.argument("id_", metavar="ID")
@click.option("--grace", default="0s", help="How long the secret of now goes on working.")
def rotate(
    path: str | None, as_json: bool, url: str | None, offline: bool, id_: str, grace: str
) -> None:
    """Give a key a new secret and show it, once."""
    asked = Asked("POST", ("keys", id_, "rotate"), body={"grace": grace})
    _say_key(ask(path, url, offline, asked), as_json)


@click.command("revoke")
@common
@click.argument("id_", metavar="ID")
def revoke(path: str | None, as_json: bool, url: str | None, offline: bool, id_: str) -> None:
    """Revoke a key, for good; within a second it works nowhere."""
    found = ask(path, url, offline, Asked("POST", ("keys", id_, "revoke")))
    if as_json:
        say_json(found)
    else:
        say(f"{id_} is revoked")


@click.command("delete")
@common
@click.argument("id_", metavar="ID")
def delete(path: str | None, as_json: bool, url: str | None, offline: bool, id_: str) -> None:
    """Delete a key and what is known of its use."""
    found = ask(path, url, offline, Asked("DELETE", ("keys", id_)))
    if as_json:
        say_json(found)
    else:
        say(f"{id_} is deleted")


@click.command("changes")
@common
@click.option("--subject", default="", help="Only what was done to this key or team.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
def changes(
    path: str | None, as_json: bool, url: str | None, offline: bool, subject: str, limit: int
) -> None:
    """List who did what to keys and teams, the latest first."""
    query = {"subject": subject, "limit": str(limit)}
    found = ask(path, url, offline, Asked("GET", ("key-changes",), query))
    if as_json:
        say_json(found)
        return
    names = ("at", "who", "what", "kind", "subject")
    say_rows([names, *(tuple(change[name] for name in names) for change in found["changes"])])


@click.command("hash")
@config_option
@json_option
@click.option("--new", is_flag=True, help="Make a key, and show it with its hash.")
def hash_(path: str | None, as_json: bool, new: bool) -> None:
    """Print what config.toml keeps of a key: of a new one, or of the one on standard input."""
    key = make(prefix_of(path)) if new else _read_key()
    digest = digest_of(key.encode()).hex()
    if as_json:
        say_json({"key": key, "hash": digest} if new else {"hash": digest})
        return
    if new:
        say(key)
        say(_GONE, err=True)
    say(digest)


def _read_key() -> str:
    if sys.stdin.isatty():
        key = str(click.prompt("Key", hide_input=True, err=True))
    else:
        key = sys.stdin.read()
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise click.UsageError("wanted a key of printable characters on standard input, or --new")
    return key


def _say_key(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say_json(found)
        return
    say(f"id   {found['id']}")
    if "key" in found:
        say(f"key  {found['key']}")
        say(_GONE, err=True)
    else:
        say("it was there already; its secret was shown then", err=True)


def say_fields(found: dict[str, Any], as_json: bool) -> None:
    """Print a document, as JSON or a field a line."""
    if as_json:
        say_json(found)
        return
    say_rows([(name, _words(value)) for name, value in found.items() if value not in ("", [], {})])


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_words(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}={_words(one)}" for name, one in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def _row(key: dict[str, Any]) -> tuple[str, ...]:
    state = "revoked" if key["revoked_at"] else "works" if key["enabled"] else "disabled"
    return (
        key["id"],
        key["name"],
        key["team"],
        key["user"],
        key["hint"],
        state,
        str(key["uses"]),
        key["last_used_at"] or "-",
    )


@click.group("keys", commands=[create, list_, show, update, rotate, revoke, delete, changes, hash_])
def command() -> None:
    """Make, list, change and revoke the keys that callers show to this gateway."""
