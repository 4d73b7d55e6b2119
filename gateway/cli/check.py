"""`weir check`: everything that can be known before a start, in one run.

Errors stop a start and give exit code 78. Warnings do not: an inline key, a file that others can
read. A missing key is neither, because the caller may bring one; it is listed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

import click

from gateway import settings
from gateway.cli import CONFIG_ERROR, registry
from gateway.cli.text import config_option, say
from gateway.convert import ConfigErrors, secrets_in
from gateway.errors import StartError
from gateway.plugins import Registry
from gateway.providers import Provider, build
from gateway.routes import Table
from gateway.secret import FILE, Secret

T = TypeVar("T")

OTHERS: Final = stat.S_IRWXO | stat.S_IRWXG
COLOURS: Final = {"error": "red", "warning": "yellow", "no key": "cyan"}


@click.command("check")
@config_option
def command(path: str | None) -> None:
    """Check configuration, plugins, keys and file permissions; print everything found."""
    errors: list[str] = []
    loaded = _kept(errors, lambda: settings.load(path, os.environ))
    if loaded is None:
        _finish(errors)
        return
    config = loaded.config
    plugins = _kept(errors, lambda: registry.enabled(loaded))
    providers = _kept(errors, lambda: build(config, config.state_path), loaded)
    if providers is not None:
        _kept(errors, lambda: Table(config, providers))
    keys = list(_secrets(providers or {}, plugins))
    for text in [*loaded.warnings, *_inline(loaded, plugins), *_open_files(loaded, keys)]:
        _line("warning", text)
    _tell_missing(loaded, keys)
    _finish(errors, f"{loaded.path or 'built-in defaults'}: {len(config.enabled)} plugins, ok")


def _kept(
    errors: list[str], step: Callable[[], T], loaded: settings.Loaded | None = None
) -> T | None:
    try:
        return step()
    except StartError as found:
        error = loaded.placed(found) if loaded and isinstance(found, ConfigErrors) else found
        errors.extend(str(error).splitlines())
        return None


def _finish(errors: list[str], good: str = "") -> None:
    for error in errors:
        _line("error", error)
    if errors:
        raise SystemExit(CONFIG_ERROR)
    say(good)


def _tell_missing(loaded: settings.Loaded, keys: list[tuple[str, Secret]]) -> None:
    """What the configuration names, a line each; the usual variables of the others in one."""
    usual = []
    for name, secret in keys:
        if not secret.missing:
            continue
        if loaded.provenance.get(name, "default") == "default":
            usual.append(f"{name.split('.')[1]} ({secret.reference})")
        else:
            _line("no key", f"{name}: {secret.reference} is {secret.why_missing}")
    if usual:
        _line("no key", f"callers bring their own for {', '.join(usual)}")


def _line(kind: str, text: str) -> None:
    say(f"{click.style(kind.ljust(7), fg=COLOURS[kind])}  {text}")


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
    if loaded.path is not None and any(secret.inline for _, secret in keys):
        files.add(Path(loaded.path))
    for path in [state, *(file.expanduser() for file in sorted(files)), state / "admin.token"]:
        try:
            mode = path.stat().st_mode
        except OSError:
            continue  # made at the first start, or listed as missing
        if mode & OTHERS:
            yield f"{path}: mode {stat.S_IMODE(mode):04o} lets others in; chmod go= {path}"
    if state.exists() and not os.access(state, os.W_OK | os.X_OK):
        yield f"{state}: cannot be written; set state_dir"
