"""Plugins made of a few functions, for tests that need one hook or two."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from gateway import hookimpl, hooks


class Boom(Exception):
    """What a plugin raises; its text is for the log only."""

    def __init__(self) -> None:
        super().__init__("the plugin's own words")


def plugin(name: str = "plain", /, *, having: dict[str, Any] | None = None, **bodies: Any) -> Any:
    """Make a plugin of functions without `self`, by hook. having: `reads`, `fails`, `measures`."""
    marked = {hook: staticmethod(hookimpl(body)) for hook, body in bodies.items()}
    return type(name.title(), (), {"__module__": __name__, **(having or {}), **marked})()


def raising(hook: str, name: str = "broken", **having: Any) -> Any:
    """Make a plugin that raises in one hook."""
    return plugin(name, having=having, **{hook: _like(hook)})


def _like(hook: str) -> Callable[..., Any]:
    """Make a function with the arguments of that hook, which counts by their names."""
    declared = getattr(hooks, hook)
    names = ", ".join(inspect.signature(declared).parameters)
    colour = "async " if inspect.iscoroutinefunction(declared) else ""
    scope: dict[str, Any] = {"Boom": Boom}
    exec(f"{colour}def {hook}({names}): raise Boom", scope)
    made: Callable[..., Any] = scope[hook]
    return made
