"""A plan: every hook of one gateway, in order, frozen at start.

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
from gateway.bearer import Guard

if TYPE_CHECKING:
    from gateway.plugins import LoadedPlugin

# The hooks of the line; the other two belong to the process.
ON_THE_LINE: Final = hooks.NAMES[2:]
SIDES: Final = ("upstream", "caller")


class Hook:
    """A plugin's function for one hook of the line.

    waits: calling it gives an awaitable. place: the plugin's, in `Plan.plugins`. sides: of an
    answer, which a `tap` may want to watch (a plugin's `watches` names the one).
    """

    __slots__ = ("call", "phase", "place", "plugin", "sides", "waits")

    def __init__(
        self,
        call: Callable[..., Any],
        plugin: str,
        phase: str,
        place: int,
        watches: str | None = None,
    ) -> None:
        self.call = call
        self.sides = SIDES if watches is None else (watches,)
        self.plugin = plugin
        self.phase = phase
        self.place = place
        self.waits = inspect.iscoroutinefunction(call)


class Plan:
    """The hooks of one gateway, in order, and each plugin's settings for it."""

    __slots__ = (
        "_loaded",
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
        "pick",
        "plugins",
        "prepare",
        "reads",
        "reworks",
        "rewrite",
        "send",
        "settings",
        "settle",
        "tap",
        "waits",
        "watches",
    )

    def __init__(
        self,
        gateway: str,
        loaded: tuple[LoadedPlugin, ...],
        settings: Mapping[str, Any],
        header_prefixes: tuple[bytes, ...],
    ) -> None:
        self._loaded = loaded
        self.plugins = tuple(plugin.name for plugin in loaded)
        self.gateway = gateway
        self.settings = settings
        self.header_prefixes = header_prefixes
        self.measures = any(plugin.measures for plugin in loaded)
        self.authenticate = self._compile("authenticate") + self._guard()
        self.prepare = self._compile("prepare")
        self.lookup = self._compile("lookup")
        self.limit = self._compile("limit")
        self.pick = self._compile("pick")
        self.send = self._compile("send")
        self.judge = self._compile("judge")
        self.answer = self._compile("answer")
        self.rewrite = self._compile("rewrite")
        self.tap = self._compile("tap")
        self.settle = self._compile("settle")
        self.account = self._compile("account")
        self.fails_open = frozenset(plugin.name for plugin in loaded if plugin.fails == "open")
        self.reworks = bool(self.rewrite or self.tap)
        self.watches = bool(self.rewrite or self.tap or self.settle)
        reads = {plugin.reads for plugin in loaded}
        self.reads: str | None = "all" if "all" in reads else "json" if "json" in reads else None
        every = [hook for name in ON_THE_LINE for hook in getattr(self, name)]
        self.waits = any(hook.waits for hook in every)
        self.is_bare = not every
        asked = self.authenticate or self.prepare or self.lookup or self.limit
        self.asks = bool(asked or self.reads)

    def bare(self) -> Plan:
        """A copy that edits and watches nothing, but still settles and accounts."""
        bare = Plan(self.gateway, self._loaded, self.settings, self.header_prefixes)
        bare.answer = bare.rewrite = bare.tap = ()
        return bare

    def _compile(self, name: str) -> tuple[Hook, ...]:
        found = [
            Hook(getattr(plugin.instance, name), plugin.name, name, place, plugin.watches)
            for place, plugin in enumerate(self._loaded)
            if name in plugin.hooks and name not in self._idle(plugin)
        ]
        return tuple(reversed(found) if name in hooks.REVERSED else found)

    def _guard(self) -> tuple[Hook, ...]:
        """What comes after all that say who calls, where one of the plugins does."""
        those = [plugin for plugin in self._loaded if plugin.identifies]
        if not those:
            return ()
        owns = [getattr(plugin.instance, "owns", None) for plugin in those]
        guard = Guard(tuple(own for own in owns if own is not None))
        place = self._loaded.index(those[-1])
        return (Hook(guard.check, those[-1].name, "authenticate", place),)

    def _idle(self, plugin: LoadedPlugin) -> Collection[str]:
        """The hooks that have nothing to do for this gateway, as the plugin says of its settings
        (`idle(config)`).
        """
        idle = getattr(plugin.instance, "idle", None)
        if idle is None:
            return ()
        settings = self.settings[plugin.name]
        # Where a reload's table is wrong there are none, and the plan will not be used.
        return () if settings is None else idle(settings)
