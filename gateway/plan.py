"""A plan: every hook of one gateway as a plain tuple of bound functions, frozen at start.

What the line calls is decided here, once, so that a request pays nothing for a plugin that does not
implement a hook and next to nothing for one that does. A plugin's `idle(config)` may name hooks
that do nothing under these settings; they are left out. Where a plugin asks to measure (`measures =
True`) the line reads the clock around each hook up to the answer's head, and only then.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from gateway import hooks

if TYPE_CHECKING:
    from gateway.plugins import LoadedPlugin

Hook = Callable[..., Any]
# The hooks of the line; the other two belong to the process.
ON_THE_LINE: Final = hooks.NAMES[2:]
UNKNOWN: Final = ("?", "")


class Plan:
    """The hooks of one gateway, in order, and each plugin's settings for it."""

    __slots__ = (
        "_plugins",
        "account",
        "answer",
        "asks",
        "authenticate",
        "fails_open",
        "gateway",
        "header_prefixes",
        "is_bare",
        "judge",
        "limit",
        "lookup",
        "measures",
        "names",
        "owners",
        "pick",
        "prepare",
        "reads",
        "reworks",
        "rewrite",
        "send",
        "settings",
        "settle",
        "tap",
        "unspent",
        "waits",
        "watches",
    )

    def __init__(
        self,
        gateway: str,
        plugins: tuple[LoadedPlugin, ...],
        settings: Mapping[str, Any],
        header_prefixes: tuple[bytes, ...],
    ) -> None:
        self._plugins = plugins
        self.gateway = gateway
        self.settings = settings
        self.header_prefixes = header_prefixes
        self.measures = any(plugin.measures for plugin in plugins)
        self.unspent = {plugin.name: 0 for plugin in plugins}
        self.owners: dict[Hook, tuple[str, str]] = {}
        self.names: dict[
            int, str
        ] = {}  # the plugin's name by the id of its function, for the hurry
        self.authenticate = self._compile("authenticate", plugins)
        self.prepare = self._compile("prepare", plugins)
        self.lookup = self._compile("lookup", plugins)
        self.limit = self._compile("limit", plugins)
        self.pick = self._compile("pick", plugins)
        self.send = self._compile("send", plugins)
        self.judge = self._compile("judge", plugins)
        self.answer = self._compile("answer", plugins)
        self.rewrite = self._compile("rewrite", plugins)
        self.tap = self._compile("tap", plugins)
        self.settle = self._compile("settle", plugins)
        self.account = self._compile("account", plugins)
        self.fails_open = frozenset(plugin.name for plugin in plugins if plugin.fails == "open")
        self.reworks = bool(self.rewrite or self.tap)
        self.watches = bool(self.rewrite or self.tap or self.settle)
        reads = {plugin.reads for plugin in plugins}
        self.reads: str | None = "all" if "all" in reads else "json" if "json" in reads else None
        self.waits = frozenset(hook for hook in self.owners if inspect.iscoroutinefunction(hook))
        self.is_bare = not any(getattr(self, name) for name in ON_THE_LINE)
        asked = self.authenticate or self.prepare or self.lookup or self.limit
        self.asks = bool(asked or self.reads)

    def bare(self) -> Plan:
        """A copy that edits and watches nothing, but still settles and accounts."""
        bare = Plan(self.gateway, self._plugins, self.settings, self.header_prefixes)
        bare.answer = bare.rewrite = bare.tap = ()
        return bare

    def owner(self, hook: Hook) -> str:
        """The plugin that a function of this plan belongs to."""
        return self.owners.get(hook, UNKNOWN)[0]

    def phase(self, hook: Hook) -> str:
        """The name of the hook that it implements there."""
        return self.owners.get(hook, UNKNOWN)[1]

    def _compile(self, name: str, plugins: tuple[LoadedPlugin, ...]) -> tuple[Hook, ...]:
        order = reversed(plugins) if name in hooks.REVERSED else plugins
        found = []
        for plugin in order:
            if name in plugin.hooks and name not in self._idle(plugin):
                hook: Hook = getattr(plugin.instance, name)
                self.owners[hook] = (plugin.name, name)
                self.names[id(hook)] = plugin.name
                found.append(hook)
        return tuple(found)

    def _idle(self, plugin: LoadedPlugin) -> Collection[str]:
        """The hooks that have nothing to do for this gateway, as the plugin says of its settings
        (`idle(config)`).
        """
        idle = getattr(plugin.instance, "idle", None)
        return () if idle is None else idle(self.settings[plugin.name])
