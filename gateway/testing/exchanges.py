"""An exchange as hooks get it, and a plan of plugins, without a gateway round them.

    made = exchange(headers=[(b"weir-metadata", b'{"team": "search"}')])
    Plugin(Config()).prepare(made)
    assert made.known().metadata == {"team": "search"}

What such an exchange holds was made by the core's own code: its screen sorted the fields, its row
of providers.toml made the provider, its dialect read the model. `gateway.testing.runs` sends it
down the line.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from gateway.config import Config
from gateway.convert import ConfigErrors
from gateway.exchange import Attempt, Exchange, Target
from gateway.headers import Headers
from gateway.plan import Plan
from gateway.plugins import LoadedPlugin, check
from gateway.providers import Provider, build
from gateway.refusal import Screen

PATH: Final = b"v1/chat/completions"
# Nothing is ever written there, and nothing read.
NO_STATE: Final = Path("/dev/null")
# No plugin but the given ones, no key of the one who runs the tests.
BARE: Final = Config(enabled=(), state_dir=str(NO_STATE))


def exchange(
    method: bytes = b"POST",
    path: bytes = PATH,
    *,
    provider: str = "openai",
    headers: Iterable[tuple[bytes, bytes]] = (),
    body: bytes | None = None,
    settings: Mapping[str, Any] | None = None,
    plan: Plan | None = None,
) -> Exchange:
    """Make an exchange as hooks get it: routed, its own fields sorted out, its body read.

    body: taken for JSON unless `headers` has a Content-Type. settings: what `exchange.settings`
    holds, by plugin name; or a whole plan.
    """
    fields = Headers([(b"Host", b"localhost"), *headers])
    if body is not None:
        if b"content-type" not in fields:
            fields.add(b"Content-Type", b"application/json")
        fields.add(b"Content-Length", b"%d" % len(body))
    made = Exchange(method, b"/%b/%b" % (provider.encode(), path), "1.1", fields, "127.0.0.1:50000")
    Screen(BARE).pass_over(made)
    made.plan = plan if plan is not None else _plan((), settings or {})
    made.provider, made.path, made.body = _providers()[provider], path, body
    dialect = made.dialect
    if dialect is not None and isinstance(made.document, dict):
        made.model = dialect.model(made.document, made.path)
        made.streaming = dialect.streams(made.document, made.path)
    return made


def attempt_of(made: Exchange) -> Attempt:
    """Add an attempt at the exchange's own provider, as `send` and `judge` get it."""
    assert made.provider is not None
    origin, path = made.provider.locate(made.path, made.account_id)
    target = Target(made.provider, origin, path)
    passed = Screen(BARE).pass_over(made).passed
    attempt = Attempt(len(made.attempts), target, passed, made.body, time.monotonic_ns())
    made.attempts.append(attempt)
    return attempt


def plan_of(*plugins: object, settings: Mapping[str, Any] | None = None) -> Plan:
    """Build a plan of plugins in that order: instances, or modules that have a Plugin and a Config.

    A plugin bears the name of its module, or of its class if that is not `Plugin`. settings: a
    `Config` by plugin name, where it is not to be the module's with its defaults. What a start
    would refuse is a `StartError`.
    """
    given = dict(settings or {})
    loaded = []
    for plugin in plugins:
        one = _of_module(plugin) if isinstance(plugin, ModuleType) else _of_instance(plugin)
        problems = check(one)
        if problems:
            raise ConfigErrors(problems)
        config = given[one.name] if one.name in given else one.config_type()
        given[one.name] = config
        one.instance = one.module.Plugin(config) if plugin is one.module else plugin
        loaded.append(one)
    return _plan(tuple(loaded), given)


@cache
def _providers() -> dict[str, Provider]:
    return build(BARE, NO_STATE, {})


def _plan(plugins: tuple[LoadedPlugin, ...], settings: Mapping[str, Any]) -> Plan:
    prefixes = tuple(prefix.encode() for prefix in BARE.server.header_prefixes)
    return Plan("default", plugins, settings, prefixes)


def _of_module(module: ModuleType) -> LoadedPlugin:
    return LoadedPlugin(module.__name__.rpartition(".")[2], "given", module)


def _of_instance(plugin: object) -> LoadedPlugin:
    kind = type(plugin)
    home = vars(sys.modules[kind.__module__])
    is_the_plugin = kind.__name__ == "Plugin"
    name = kind.__module__.rpartition(".")[2] if is_the_plugin else _snake(kind.__name__)
    # What a LoadedPlugin reads is a module; a test may have several plugins in one.
    module = ModuleType(name)
    vars(module).update(Plugin=kind)
    if is_the_plugin and "Config" in home:
        vars(module).update(Config=home["Config"])
    return LoadedPlugin(name, "given", module)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
