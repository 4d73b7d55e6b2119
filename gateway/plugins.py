"""Finding, checking and building plugins. Nothing here runs once requests come.

A name in `enabled` is a module of the `plugins` package, an entry point of the group
`weir.plugins`, or the path of a .py file; all three go through the same door. Only what is enabled
is imported. Every fault of every plugin is found in one run, and each message names the plugin, the
hook and the way out, because a plugin that half works is worse than one that does not start.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pluggy

from gateway import cors, hooks, order
from gateway.convert import ConfigErrors, Problem, convert_table
from gateway.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.config import Config

BUNDLED: Final = "plugins"
GROUP: Final = "weir.plugins"
CHOICES: Final = {
    "reads": (None, "json", "all"),
    "watches": (None, "upstream", "caller"),
    "fails": ("open", "closed"),
}
MAIN: Final = "default"  # the gateway of those requests that name none


class NoConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table of a plugin that has no keys."""


class LoadedPlugin:
    """One plugin of this process: where it came from and what it does."""

    __slots__ = (
        "after",
        "config_type",
        "fails",
        "hooks",
        "identifies",
        "instance",
        "last_in",
        "measures",
        "module",
        "name",
        "reads",
        "source",
        "watches",
    )

    def __init__(self, name: str, source: str, module: ModuleType) -> None:
        self.name = name
        self.source = source  # "bundled", "entry point NAME" or the file's path
        self.module = module
        self.config_type: type[msgspec.Struct] = getattr(module, "Config", NoConfig)
        self.instance: Any = None
        kind = module.Plugin
        self.reads: str | None = getattr(kind, "reads", None)
        self.watches: str | None = getattr(kind, "watches", None)
        self.fails: str = getattr(kind, "fails", "closed")
        self.measures: bool = getattr(kind, "measures", False)
        self.identifies: bool = getattr(kind, "identifies", False)
        self.after: tuple[str, ...] = getattr(kind, "after", ())
        self.last_in: tuple[str, ...] = getattr(kind, "last_in", ())
        self.hooks: tuple[str, ...] = tuple(
            name for name in hooks.NAMES if hooks.is_marked(getattr(kind, name, None))
        )

    @property
    def summary(self) -> str:
        """The first line of the module's docstring."""
        return (self.module.__doc__ or "").strip().partition("\n")[0]


class Registry:
    """All plugins of the process, built, and the plan of each gateway."""

    __slots__ = ("manager", "plans", "plugins")

    def __init__(self, plugins: tuple[LoadedPlugin, ...], plans: dict[str, Plan]) -> None:
        self.plugins = plugins
        self.plans = plans
        self.manager = pluggy.PluginManager(hooks.PROJECT)


def discover() -> dict[str, str]:
    """Every plugin that could be enabled by name, and where from. Imports none of them."""
    found = {
        point.name: f"entry point {point.value}"
        for point in importlib.metadata.entry_points(group=GROUP)
    }
    found.update(dict.fromkeys(_bundled(), "bundled"))
    return dict(sorted(found.items()))


def load(config: Config, base: Path | None = None, *, ordered: bool = True) -> Registry:
    """Import, check and build what the configuration enables.

    base: the directory that file paths start from. ordered: whether the order of the list has to be
    one that works. Raises `ConfigErrors` with all that is wrong.
    """
    problems: list[Problem] = []
    found: dict[str, LoadedPlugin] = {}
    sound: dict[str, LoadedPlugin] = {}
    for entry in dict.fromkeys(_every_name(config)):
        plugin = _import(entry, base or Path.cwd(), problems)
        if plugin is not None:
            faults = [*check(plugin), *_twice(plugin, found.values())]
            problems.extend(faults)
            found[entry] = plugin
            if not faults:
                sound[entry] = plugin
    _check_tables(config, {_name_of(entry) for entry in _every_name(config)}, problems)
    if ordered:
        _check_order(config, sound, problems)
    _plans(config, sound, problems)  # finds what is wrong in the tables
    registry = Registry(tuple(found.values()), {})
    registry.manager.add_hookspecs(hooks)
    if not problems:
        for plugin in found.values():
            settings = _settings(config, plugin, None, problems)
            if settings is not None:
                _build(plugin, settings, registry.manager, problems)
    if problems:
        raise ConfigErrors(problems)
    registry.plans = _plans(config, found, problems)
    return registry


def replan(config: Config, registry: Registry) -> dict[str, Plan]:
    """Plans for a changed configuration with the same plugins. Raises `ConfigErrors`."""
    problems: list[Problem] = []
    known = {plugin.name: plugin for plugin in registry.plugins}
    loaded: dict[str, LoadedPlugin] = {}
    for entry in _every_name(config):
        plugin = known.get(_name_of(entry))
        if plugin is not None:
            loaded[entry] = plugin
        else:
            text = f'plugin "{entry}" is not loaded in this process; a restart is needed for it'
            problems.append(Problem(("enabled",), text))
    _check_tables(config, set(known), problems)
    _check_order(config, loaded, problems)
    plans = _plans(config, loaded, problems)
    if problems:
        raise ConfigErrors(problems)
    return plans


# -- finding ---------------------------------------------------------------------------------------


def _every_name(config: Config) -> list[str]:
    return [
        *config.enabled,
        *(name for gateway in config.gateways.values() for name in gateway.enabled or ()),
    ]


def _name_of(entry: str) -> str:
    return Path(entry).stem if entry.endswith(".py") else entry


def _bundled() -> list[str]:
    spec = importlib.util.find_spec(BUNDLED)
    if spec is None or spec.submodule_search_locations is None:
        return []
    return [module.name for module in pkgutil.iter_modules(spec.submodule_search_locations)]


def _import(entry: str, base: Path, problems: list[Problem]) -> LoadedPlugin | None:
    """The plugin of one entry of `enabled`, or a problem."""
    try:
        found = _module(entry, base)
    except (
        Exception
    ) as error:  # whatever a module does on import is its own; here it is a reason not to start
        problems.append(
            Problem(
                ("enabled",),
                f'plugin "{entry}" cannot be imported: {type(error).__name__}: {error}',
            )
        )
        return None
    if found is None:
        near = difflib.get_close_matches(entry, discover(), n=1)
        problems.append(
            Problem(
                ("enabled",),
                f'no plugin "{entry}": not in plugins/, no entry point of {GROUP}, no .py file',
                nearest=near[0] if near else "",
            )
        )
        return None
    source, module = found
    if not inspect.isclass(getattr(module, "Plugin", None)):
        problems.append(Problem(("enabled",), f'plugin "{entry}" ({source}) has no class Plugin'))
        return None
    return LoadedPlugin(_name_of(entry), source, module)


def _module(entry: str, base: Path) -> tuple[str, ModuleType] | None:
    if entry.endswith(".py"):
        path = (base / Path(entry).expanduser()).resolve()
        if not path.is_file():
            return None
        return str(path), _module_from(path)
    if entry in _bundled():
        return "bundled", importlib.import_module(f"{BUNDLED}.{entry}")
    for point in importlib.metadata.entry_points(group=GROUP, name=entry):
        module = point.load()
        return f"entry point {point.value}", module
    return None


def _module_from(path: Path) -> ModuleType:
    name = f"weir_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be read as a module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and msgspec look up annotations
    spec.loader.exec_module(module)
    return module


# -- checking --------------------------------------------------------------------------------------


def check(plugin: LoadedPlugin) -> list[Problem]:
    """Everything wrong with a plugin's class, each with plugin, hook and fault."""
    where = ("enabled",)
    kind = plugin.module.Plugin
    texts = []
    for name in dir(kind):
        method = getattr(kind, name)
        if name in hooks.NAMES and callable(method) and not hooks.is_marked(method):
            texts.append(f"hook {name}: the method is not marked; put @hookimpl above it")
        elif hooks.is_marked(method):
            texts.extend(hooks.faults_in(name, method))
    for attribute, choices in CHOICES.items():
        if (found := getattr(plugin, attribute)) not in choices:
            *most, last = map(repr, choices)
            texts.append(f"{attribute} = {found!r}: wanted {', '.join(most)} or {last}")
    texts.extend(order.faults_in(plugin))
    if not (inspect.isclass(plugin.config_type) and issubclass(plugin.config_type, msgspec.Struct)):
        texts.append("Config is not a msgspec.Struct")
    return [Problem(where, f'plugin "{plugin.name}": {text}') for text in texts]


def _twice(plugin: LoadedPlugin, others: Iterable[LoadedPlugin]) -> list[Problem]:
    """Two plugins of one name would share a table and their notes."""
    return [
        Problem(
            ("enabled",),
            f'two plugins are named "{plugin.name}": {other.source} and {plugin.source}',
        )
        for other in others
        if other.name == plugin.name
    ]


def _check_tables(config: Config, known: set[str], problems: list[Problem]) -> None:
    """A table for a plugin that exists nowhere is a typing error; one for a plugin that is merely
    off is fine.
    """
    tables: list[tuple[tuple[str, ...], str]] = [
        (("plugins", name), name) for name in config.plugins
    ]
    for gateway, settings in config.gateways.items():
        tables.extend((("gateways", gateway, "plugins", name), name) for name in settings.plugins)
    unknown = [(path, name) for path, name in tables if name not in known]
    if not unknown:
        return
    available = {*known, *discover()}
    for path, name in unknown:
        if name not in available:
            near = difflib.get_close_matches(name, sorted(available), n=1)
            problems.append(
                Problem(
                    path,
                    "a table for a plugin that does not exist",
                    nearest=near[0] if near else "",
                )
            )


# -- building --------------------------------------------------------------------------------------


def _settings(
    config: Config, plugin: LoadedPlugin, gateway: str | None, problems: list[Problem]
) -> msgspec.Struct | None:
    where = (
        ("plugins", plugin.name)
        if gateway is None
        else ("gateways", gateway, "plugins", plugin.name)
    )
    value, found = convert_table(
        plugin.config_type, config.table(plugin.name, gateway), where=where
    )
    problems.extend(found)
    return value


def _build(
    plugin: LoadedPlugin,
    settings: msgspec.Struct,
    manager: pluggy.PluginManager,
    problems: list[Problem],
) -> None:
    try:
        plugin.instance = plugin.module.Plugin(settings)
        manager.register(plugin.instance, name=plugin.name)
        manager.check_pending()
    except Exception as error:  # a constructor may refuse its config in its own words
        problems.append(
            Problem(
                ("plugins", plugin.name),
                f'plugin "{plugin.name}" cannot be built: {type(error).__name__}: {error}',
            )
        )


def _plans(
    config: Config, loaded: Mapping[str, LoadedPlugin], problems: list[Problem]
) -> dict[str, Plan]:
    prefixes = tuple(prefix.encode() for prefix in config.server.header_prefixes)
    plans, first = {}, _own(config)
    for name, plugins in _lists(config, loaded).items():
        table = None if name == MAIN else name
        settings: dict[str, Any] = {
            plugin.name: _settings(config, plugin, table, problems) for plugin in plugins
        }
        plans[name] = Plan(
            name, first + tuple(p for p in plugins if p.instance is not None), settings, prefixes
        )
    return plans


def _lists(
    config: Config, loaded: Mapping[str, LoadedPlugin]
) -> dict[str, tuple[LoadedPlugin, ...]]:
    """The plugins of each gateway, in order."""
    main = _listed(config.enabled, loaded)
    lists = {MAIN: main}
    for name, gateway in config.gateways.items():
        own = main if gateway.enabled is None else _listed(gateway.enabled, loaded)
        kept = () if gateway.open else tuple(p for p in main if p not in own and _guards(p))
        lists[name] = kept + own
    return lists


def _check_order(
    config: Config, loaded: Mapping[str, LoadedPlugin], problems: list[Problem]
) -> None:
    for name, plugins in _lists(config, loaded).items():
        fault = order.fault_of(plugins)
        if fault is not None:
            where = ("enabled",) if name == MAIN else ("gateways", name, "enabled")
            problems.append(Problem(where, fault))


def _own(config: Config) -> tuple[LoadedPlugin, ...]:
    """What the core puts before all plugins of every plan."""
    plugin = LoadedPlugin("cors", "core", cors)
    plugin.instance = cors.Plugin(config.server.cors_origins)
    return (plugin,) if config.server.cors_origins else ()


def _listed(entries: Iterable[str], loaded: Mapping[str, LoadedPlugin]) -> tuple[LoadedPlugin, ...]:
    """The plugins of a list, in its order; one that stands there twice runs once."""
    return tuple(loaded[entry] for entry in dict.fromkeys(entries) if entry in loaded)


def _guards(plugin: LoadedPlugin) -> bool:
    return "authenticate" in plugin.hooks or "limit" in plugin.hooks
