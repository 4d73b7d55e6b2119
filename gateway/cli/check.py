"""`weir check`: everything that can be known before a start, in one run.

Errors stop a start and give exit code 78. Warnings do not: an inline key, a file that others can
read. A missing key is neither, because the caller may bring one; it is listed. A plugin that knows
more than its `Config` can say has a method `check(config, state)`, which gives a text for each
thing that would stop it; `state` is the state directory, which need not be there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

import click

from gateway import settings
from gateway.certificate import context_of
from gateway.cli import CONFIG_ERROR, registry
from gateway.cli.machine import private
from gateway.cli.text import config_option, json_option, say, say_json
from gateway.convert import ConfigErrors, Problem, secrets_in
from gateway.errors import StartError
from gateway.plugins import Registry
from gateway.providers import Provider, build
from gateway.routes import Table
from gateway.secret import FILE, Secret

T = TypeVar("T")

COLOURS: Final = {"error": "red", "warning": "yellow", "no key": "cyan"}


@click.command("check")
@config_option
@json_option
def command(path: str | None, as_json: bool) -> None:
    """Check configuration, plugins, stores, keys and file permissions; print everything found."""
    errors: list[str] = []
    others: list[tuple[str, str]] = []
    examined = _kept(errors, lambda: settings.examine(path, os.environ))
    loaded = None if examined is None else examined[0]
    if examined is not None:
        errors += map(str, examined[1].problems)
    if loaded is not None:
        others += _looked(loaded, errors)
    errors = list(dict.fromkeys(errors))
    if as_json:
        found = [("error", text) for text in errors] + others
        facts = [{"kind": kind, "text": text} for kind, text in found]
        file = path if loaded is None else loaded.path
        say_json({"file": file, "ok": not errors, "found": facts})
    else:
        for kind, text in [*others, *(("error", text) for text in errors)]:
            say(f"{click.style(kind.ljust(7), fg=COLOURS[kind])}  {text}")
        if loaded is not None and not errors:
            count = len(loaded.config.enabled)
            say(f"{loaded.path or 'built-in defaults'}: {count} plugins, ok")
    if errors:
        raise SystemExit(CONFIG_ERROR)


def _looked(loaded: settings.Loaded, errors: list[str]) -> Iterator[tuple[str, str]]:
    """All that a configuration of the right types may still have wrong, as kind and text."""
    config = loaded.config
    plugins = _kept(errors, lambda: registry.enabled(loaded))
    providers = _kept(errors, lambda: build(config, config.state_path), loaded)
    _kept(errors, lambda: context_of(config.server), loaded)
    if providers is not None:
        _kept(errors, lambda: Table(config, providers))
    if plugins is not None:
        _kept(errors, lambda: _ask(plugins, config.state_path), loaded)
    keys = list(_secrets(providers or {}, plugins))
    for text in [*loaded.warnings, *_inline(loaded, plugins), *_open_files(loaded, keys)]:
        yield "warning", text
    for text in _missing(loaded, keys):
        yield "no key", text


def _ask(plugins: Registry, state: Path) -> None:
    """The plugins' own checks, of the main list's settings. `ConfigErrors` with all they say."""
    problems: list[Problem] = []
    tables = plugins.plans["default"].settings
    for plugin in plugins.plugins:
        check = getattr(plugin.instance, "check", None)
        if check is None or plugin.name not in tables:
            continue
        path = ("plugins", plugin.name)
        try:
            problems += [Problem(path, text) for text in check(tables[plugin.name], state)]
        except Exception as error:
            problems.append(Problem(path, f"its check failed: {error!r}"))
    if problems:
        raise ConfigErrors(problems)


def _kept(
    errors: list[str], step: Callable[[], T], loaded: settings.Loaded | None = None
) -> T | None:
    try:
        return step()
    except StartError as found:
        error = loaded.placed(found) if loaded and isinstance(found, ConfigErrors) else found
        errors.extend(str(error).splitlines())
        return None


def _missing(loaded: settings.Loaded, keys: list[tuple[str, Secret]]) -> Iterator[str]:
    """What the configuration names, a line each; the usual variables of the others in one."""
    usual = []
    for name, secret in keys:
        if not secret.missing:
            continue
        if loaded.provenance.get(name, "default") == "default":
            usual.append(f"{name.split('.')[1]} ({secret.reference})")
        else:
            yield f"{name}: {secret.reference} is {secret.why_missing}"
    if usual:
        yield f"callers bring their own for {', '.join(usual)}"


def _secrets(
    providers: Mapping[str, Provider], plugins: Registry | None
) -> Iterator[tuple[str, Secret]]:
    """Every secret in force, by the key that names it."""
    for name, provider in providers.items():
        if provider.api_key is not None:
            yield f"providers.{name}.api_key", provider.api_key
    for name, table in _tables(plugins):
        for path, secret in secrets_in(table, ("plugins", name)):
            yield ".".join(str(part) for part in path), secret


def _tables(plugins: Registry | None) -> Iterator[tuple[str, object]]:
    if plugins is not None:
        yield from plugins.plans["default"].settings.items()


def _inline(loaded: settings.Loaded, plugins: Registry | None) -> Iterator[str]:
    for name, table in _tables(plugins):
        yield from loaded.inline_secrets(table, ("plugins", name))


def _open_files(loaded: settings.Loaded, keys: list[tuple[str, Secret]]) -> Iterator[str]:
    """Files that hold a secret and that more people than their owner can read."""
    state = loaded.config.state_path
    files = {Path(s.reference.removeprefix(FILE)) for _, s in keys if s.reference.startswith(FILE)}
    rows = loaded.config.providers.values()
    for file in (loaded.config.server.tls_key, *(row.client_key for row in rows)):
        files |= {Path(file)} if file else set()
    if loaded.path is not None and any(secret.inline for _, secret in keys):
        files.add(Path(loaded.path))
    paths = [state, *(file.expanduser() for file in sorted(files)), state / "admin.token"]
    yield from private(paths)
    if state.exists() and not os.access(state, os.W_OK | os.X_OK):
        yield f"{state}: cannot be written; set state_dir"
