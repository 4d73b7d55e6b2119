"""A plan: every hook of one gateway as a plain tuple of bound functions, frozen at start.

What the line calls is decided here, once, so that a request pays nothing for a plugin that does not
implement a hook and next to nothing for one that does. Where a plugin asks to measure (`measures =
True`) the functions are wrapped with a clock, and only then.
"""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Callable, Mapping
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
        "watches",
    )

    def __init__(
        self,
        gateway: str,
        plugins: tuple[LoadedPlugin, ...],
        settings: Mapping[str, Any],
        header_prefixes: tuple[bytes, ...],
    ) -> None:
        self.gateway = gateway
        self.settings = settings
        self.header_prefixes = header_prefixes
        self.measures = any(plugin.measures for plugin in plugins)
        self.unspent = {plugin.name: 0 for plugin in plugins}
        self.owners: dict[Hook, tuple[str, str]] = {}
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
        self.is_bare = not any(getattr(self, name) for name in ON_THE_LINE)
        asked = self.authenticate or self.prepare or self.lookup or self.limit
        self.asks = bool(asked or self.reads)

    def bare(self) -> Plan:
        """A copy that edits and watches nothing, but still settles and accounts."""
        bare = copy.copy(self)
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
            if name in plugin.hooks:
                hook: Hook = getattr(plugin.instance, name)
                if self.measures:
                    hook = _measured(hook, plugin.name)
                self.owners[hook] = (plugin.name, name)
                found.append(hook)
        return tuple(found)


def _measured(hook: Hook, plugin: str) -> Hook:
    """The same function, adding the time it takes to `exchange.spent`."""
    clock = time.monotonic_ns

    if inspect.iscoroutinefunction(hook):

        async def measured_async(exchange: Any, *rest: Any) -> Any:
            started = clock()
            try:
                return await hook(exchange, *rest)
            finally:
                exchange.spent[plugin] += clock() - started

        return measured_async

    def measured(exchange: Any, *rest: Any) -> Any:
        started = clock()
        try:
            return hook(exchange, *rest)
        finally:
            exchange.spent[plugin] += clock() - started

    return measured
