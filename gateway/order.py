"""The order of `enabled`, where plugins depend on it.

The order inside a phase is the order of the list, and some pairs work in one order only: who
prices usage has to come after who reads it. A plugin's class says so, and a list in another order
does not start; the right one is in the message.

`after`: plugins that have to stand before this one where they are enabled.
`last_in`: hooks in which no other plugin may come after this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.hooks import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.plugins import LoadedPlugin


def faults_in(plugin: LoadedPlugin) -> list[str]:
    """Everything wrong with what a plugin's class says about its place."""
    texts = [
        f"{key} = {said!r}: wanted a tuple of names"
        for key, said in (("after", plugin.after), ("last_in", plugin.last_in))
        if not isinstance(said, tuple)
    ]
    if not texts:
        texts = [f"last_in: unknown hook {name}" for name in plugin.last_in if name not in NAMES]
    return texts


def must_precede(plugin: LoadedPlugin, plugins: Iterable[LoadedPlugin]) -> list[str]:
    """The names of those in the list that have to stand before this one."""
    return [
        other.name
        for other in plugins
        if other.name in plugin.after
        or (
            other is not plugin
            and any(hook in other.hooks for hook in plugin.last_in)
            and plugin.name not in other.after
        )
    ]


def fault_of(plugins: Sequence[LoadedPlugin]) -> str | None:
    """Say what is wrong with a list's order, and what would be right; None where nothing is."""
    names = [plugin.name for plugin in plugins]
    for place, plugin in enumerate(plugins):
        late = [name for name in must_precede(plugin, plugins) if name in names[place:]]
        if late:
            right = ", ".join(f'"{name}"' for name in sorted_names(plugins))
            return f'"{plugin.name}" has to stand after "{late[-1]}"; the right order is [{right}]'
    return None


def sorted_names(plugins: Sequence[LoadedPlugin]) -> list[str]:
    """The list in an order that is right, as near to its own as can be."""
    placed: list[str] = []
    left = list(plugins)
    while left:
        # Of two that each want to be last, neither can be first: then the list's order stands.
        ready = next((p for p in left if not set(must_precede(p, left)) - {p.name}), left[0])
        left.remove(ready)
        placed.append(ready.name)
    return placed
