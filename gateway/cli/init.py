"""`weir init`: a first config.toml, made of what is found on this machine.

Looked at are the variables that hold providers' keys, the servers that listen on this machine by
themselves, and whether this is a container. What is found stands in the file with a reason; what
could be added stands there commented out. Keys are named, as `env:NAME`, and never written.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click
import msgspec
import orjson

from gateway.cli import probe
from gateway.cli.text import json_option, say, say_json
from gateway.config import Config
from gateway.proxies import is_loopback
from gateway.rows import Row, built_in
from gateway.schema import written
from gateway.secret import ENV, resolve
from gateway.settings import DEFAULT_FILE

# On this machine an answer is there at once, or nobody listens.
LOOK_S: Final = 0.2
# What OpenAI-compatible servers list their models at.
MODELS: Final = b"/v1/models"
# Where the server's own variable may say another address.
_ADDRESS_VARIABLES: Final = {"ollama": "OLLAMA_HOST"}
# What container engines leave behind: Docker's file, Podman's, and the variables of Kubernetes and
# of systemd's container interface.
_MARKS: Final = {"docker": Path("/.dockerenv"), "podman": Path("/run/.containerenv")}
_MARK_VARIABLES: Final = {"KUBERNETES_SERVICE_HOST": "kubernetes", "container": ""}


class Found(msgspec.Struct, frozen=True):
    """What is there: variables by provider, base URLs by provider, and the kind of container."""

    keys: dict[str, str]
    servers: dict[str, str]
    container: str


@click.command("init")
@click.argument("path", default=DEFAULT_FILE)
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
@json_option
def command(path: str, force: bool, as_json: bool) -> None:
    """Write a commented configuration to PATH (./config.toml) for what is found on this machine."""
    file = Path(path)
    if file.exists() and not force:
        raise click.UsageError(f"{path} is there already; --force overwrites it")
    found = look(os.environ)
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(text_for(found))
    except OSError as error:
        raise click.UsageError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    if as_json:
        say_json({"file": path, **msgspec.to_builtins(found)})
        return
    for line in _told(found):
        say(line)
    say(f"wrote {path}; `weir check --config {path}` tests it, `weir run --config {path}` starts")


def look(environ: Mapping[str, str]) -> Found:
    """Look around, within a fraction of a second."""
    return Found(
        keys=dict(_keys(environ)),
        servers=asyncio.run(_servers(environ)),
        container=_container(environ),
    )


def _keys(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each provider whose key is set, and by which variable."""
    for name, row in built_in().items():
        for reference in _references(row):
            if not resolve(reference, environ).missing:
                yield name, reference.removeprefix(ENV)
                break


def _references(row: Row) -> tuple[str, ...]:
    references = (row.api_key,) if isinstance(row.api_key, str) else row.api_key
    return tuple(reference for reference in references if reference.startswith(ENV))


async def _servers(environ: Mapping[str, str]) -> dict[str, str]:
    """The built-in servers of this machine that answer, and their base URLs."""
    wanted = dict(_local(environ))
    answers = await asyncio.gather(*map(_is_there, wanted.values()))
    return {name: url for (name, url), there in zip(wanted.items(), answers, strict=True) if there}


def _local(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, row in built_in().items():
        host = urlsplit(row.base_url).hostname
        if host is not None and "{" not in row.base_url and is_loopback(host) and not row.socket:
            yield name, _own_address(environ.get(_ADDRESS_VARIABLES.get(name, ""), ""), row)


def _own_address(text: str, row: Row) -> str:
    """What a server's own variable says, as a URL; the row's where it says nothing usable."""
    usual = urlsplit(row.base_url)
    try:
        parts = urlsplit(text if "://" in text else f"{usual.scheme}://{text}")
        host, port = parts.hostname, parts.port or usual.port
    except ValueError:
        return row.base_url
    if not host or parts.scheme not in ("http", "https"):
        return row.base_url
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}{usual.path}"


async def _is_there(url: str) -> bool:
    """Whether a server of models answers: with a list, or by asking for a key."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    try:
        async with asyncio.timeout(LOOK_S):
            answer = await probe.fetch(parts.hostname, port, MODELS, tls=tls)
    except (OSError, ssl.SSLError, probe.ProbeError):
        return False
    return answer.status in (200, 401)


def _container(environ: Mapping[str, str]) -> str:
    """The kind of container that this runs in, or an empty text."""
    for variable, kind in _MARK_VARIABLES.items():
        if environ.get(variable):
            return kind or environ[variable]
    return next((kind for kind, mark in _MARKS.items() if mark.exists()), "")


def text_for(found: Found) -> str:
    """The file for what was found; `weir check` accepts it."""
    return "\n".join(
        [
            "# Weir's configuration, written by `weir init`. What is left out keeps its default:",
            "# `weir config show` prints every key in force, `weir check` tests this file.",
            "",
            "# The plugins in order; `weir plugins` says what each does.",
            f"enabled = {written(Config().enabled)}",
            "",
            *_listeners(found),
            *_providers(found),
        ]
    )


def _listeners(found: Found) -> Iterator[str]:
    config = Config()
    yield "# The callers' listener."
    if found.container:
        yield "# In a container it listens on all addresses, because callers come from outside."
    yield "[server]"
    yield f"host = {written('0.0.0.0' if found.container else config.server.host)}"
    yield f"port = {config.server.port}"
    if found.container:
        yield "# Loopback names are always served. Beside them, the names by which other containers"
        yield "# and the ingress call this one."
        yield 'allowed_hosts = ["weir"]'
    yield ""
    yield "# The operator's listener: health, admin API. `weir health` asks it from inside."
    yield "[admin]"
    yield f"host = {written(config.admin.host)}"
    yield f"port = {config.admin.port}"
    yield ""


def _providers(found: Found) -> Iterator[str]:
    for name, variable in found.keys.items():
        yield f"# {variable} is set: callers of /{name}/... need no key of their own."
        yield from _provider(name, "api_key", f"{ENV}{variable}")
    for name, url in found.servers.items():
        if name not in found.keys:
            yield f"# It answers on this machine; callers reach it by /{name}/..."
            yield from _provider(name, "base_url", url)
    rest = {
        name: references[0]
        for name, row in built_in().items()
        if name not in {**found.keys, **found.servers} and (references := _references(row))
    }
    if rest:
        yield "# With its variable set, none of these needs a table. A table names another variable"
        yield '# or a file, "file:/run/secrets/NAME".'
        for name, reference in rest.items():
            yield f"#[providers.{name}]"
            yield f"#api_key = {written(reference)}"
        yield ""


def _provider(name: str, key: str, value: str) -> Iterator[str]:
    yield f"[providers.{name}]"
    yield f"{key} = {orjson.dumps(value).decode()}"
    yield ""


def _told(found: Found) -> Iterator[str]:
    for name, variable in found.keys.items():
        yield f"found  {name}: {variable} is set"
    for name, url in found.servers.items():
        yield f"found  {name}: answers at {url}"
    if found.container:
        yield f"found  a container ({found.container}): callers may come from outside"
    if not (found.keys or found.servers):
        yield "found  no key and no local server; the defaults work with the mock provider"
