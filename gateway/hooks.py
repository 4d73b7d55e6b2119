"""The hooks: everything a plugin can do, in the order of the line.

pluggy declares, registers and checks them; it does not call them. At start each hook becomes a
plain tuple of bound functions (`gateway.plan`), because a pluggy call costs more than many a hook
does. An implementation takes exactly the arguments shown and stands in the order of `enabled` in
config.toml (`answer` and `rewrite` in reverse, so that pairs nest). Only what is declared `async`
may be `async def`; where it has nothing to wait for, a plain `def` is the same and cheaper. In
`authenticate`, `prepare` and `lookup` a plain `def` that has to wait now and then gives a coroutine
for that one request.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    from gateway.exchange import Attempt, Exchange, Target
    from gateway.gateway import Endpoint, Gateway, Route
    from gateway.reply import Head, Reply
    from gateway.sse import Event
    from gateway.views import Again, Keep, Skip

PROJECT = "weir"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class BytesRewriter(Protocol):
    """Changes a body as bytes: `feed` each slice, `end` once for what is left."""

    def feed(self, data: bytes) -> bytes: ...
    def end(self) -> bytes: ...


class EventRewriter(Protocol):
    """Changes an event stream: `event` gives the events to send instead, `end` what is left as
    bytes.
    """

    def event(self, event: Event) -> Iterable[Event]: ...
    def end(self) -> bytes: ...


class EventTap(Protocol):
    """Watches an event stream."""

    def event(self, event: Event) -> None: ...


class MessageTap(Protocol):
    """Watches a WebSocket: whole messages, inflated; no other tap is shown anything of one.

    direction: "up" or "down". kind: "text" or "binary". data: None for a message above
    `limits.websocket_message_bytes_max`.
    """

    def message(self, direction: str, kind: str, data: bytes | None) -> None: ...


Rewriter = BytesRewriter | EventRewriter
# A tap that has a method `failed(error)` is told when it is dropped: it raised, or the answer is
# encoded as nobody here can read. That method must not raise.
Tap = Callable[[bytes], None] | EventTap | MessageTap


@hookspec
def lifespan(gateway: Gateway) -> AbstractAsyncContextManager[Any]:  # type: ignore[empty-body]
    """Wrap the process's life: an async context manager, closed in reverse order. A fault stops the
    start.
    """


@hookspec
def endpoints(gateway: Gateway) -> Iterable[Endpoint | Route]:  # type: ignore[empty-body]
    """List what the plugin serves: `Endpoint`s (aiohttp) and `Route`s; a fault stops the start."""


@hookspec
async def authenticate(exchange: Exchange) -> Reply | None:
    """Head is in, body not read. A Reply stops the exchange, None goes on; a fault is a 500."""


@hookspec
async def prepare(exchange: Exchange) -> Reply | None:
    """Body is read if somebody reads it. A Reply stops the exchange, None goes on; a fault is a
    500.
    """


@hookspec
async def lookup(exchange: Exchange) -> Reply | None:
    """Is there an answer already? A Reply skips limits and attempts; a fault is logged and the line
    goes on.
    """


@hookspec
async def limit(exchange: Exchange) -> Reply | None:
    """Reserve requests, tokens, money, a slot. A Reply refuses; on a fault the plugin's `fails`
    policy decides.
    """


@hookspec
def pick(exchange: Exchange) -> Target | None:
    """Say where the next attempt goes. The first view counts; a fault is a 500."""


@hookspec
async def send(exchange: Exchange, attempt: Attempt) -> Reply | Skip | None:
    """Target known, no byte out: credentials, dialect, the open row. A Reply stops, SKIP or a
    Skip with a reason takes the next target; a fault is a 500.
    """


@hookspec
def judge(exchange: Exchange, attempt: Attempt) -> Again | Keep | None:
    """Head or failure known, also a failure after the head. All run, the first view counts; a fault
    is a 500.
    """


@hookspec
def answer(exchange: Exchange, head: Head) -> None:
    """Edit status and headers of every answer, also our own. Reverse order; a fault is a 500."""


@hookspec
def rewrite(exchange: Exchange) -> Rewriter | None:
    """Body begins: give an object that changes it, or None. Reverse order; a fault aborts the
    stream.
    """


@hookspec
def tap(exchange: Exchange, side: str) -> Tap | None:
    """Body begins: give a watcher of the "upstream" or the "caller" side, or None. A fault drops
    it, counted.
    """


@hookspec
def settle(exchange: Exchange) -> None:
    """The end is known and the caller cannot see it yet. Once; a fault is logged loudly."""


@hookspec
def account(exchange: Exchange) -> None:
    """Always, last, once, never awaits: logs, metrics. A fault is logged loudly."""


# In the order of the line.
NAMES = (
    "lifespan", "endpoints", "authenticate", "prepare", "lookup", "limit", "pick", "send", "judge",
    "answer", "rewrite", "tap", "settle", "account",
)  # fmt: skip
REVERSED = frozenset({"answer", "rewrite"})


def is_marked(method: object) -> bool:
    """Whether a method is a hook: `@hookimpl` stands above it."""
    return callable(method) and isinstance(getattr(method, f"{PROJECT}_impl", None), dict)


def faults_in(name: str, method: Callable[..., Any]) -> list[str]:
    """What is wrong with a marked method of a plugin; each text names the hook."""
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        return [f"unknown hook {name}" + (f"; did you mean {near[0]}?" if near else "")]
    options = getattr(method, f"{PROJECT}_impl")
    if any(
        options.get(key) for key in ("wrapper", "hookwrapper", "tryfirst", "trylast", "specname")
    ):
        return [f"hook {name}: @hookimpl takes no options here; the order is that of `enabled`"]
    wanted = globals()[name]
    texts = []
    given = [parameter for parameter in inspect.signature(method).parameters if parameter != "self"]
    names = list(inspect.signature(wanted).parameters)
    if given != names:
        texts.append(
            f"hook {name}: takes (self, {', '.join(names)}), "
            f"this one ({', '.join(['self', *given])})"
        )
    if name == "lifespan":
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            texts.append("hook lifespan: put @asynccontextmanager under @hookimpl")
    elif inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
        texts.append(f"hook {name}: must be a function, it may not yield")
    elif not inspect.iscoroutinefunction(wanted) and inspect.iscoroutinefunction(method):
        texts.append(f"hook {name}: must be a plain `def`, it may not await")
    return texts
