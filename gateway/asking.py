"""What a line asks of its plugins, and what it makes of what they say.

Each phase has its rule for a hook that raises: what can change the answer fails closed, what only
watches is contained, and the log names the plugin either way. A `GatewayError` that a hook raises
on purpose is an answer.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gateway.clock import monotonic_ns
from gateway.errors import GatewayError, OwnFault
from gateway.exchange import Attempt, Exchange, Target
from gateway.log import get
from gateway.plan import Hook
from gateway.reply import Reply
from gateway.strand import Strand
from gateway.views import Again, Keep, Skip, nowhere

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.gateway import Gateway
    from gateway.routes import Found
    from gateway.upstream import Answer

log = get("line")

FAULT: Final = "The gateway failed to handle this request."

T = TypeVar("T")

# RFC 9112 section 3.2.1: a path and query, without a space or control byte in it.
_PATH: Final = re.compile(rb"/[\x21-\x7e\x80-\xff]*")


class Asking(Strand):
    """The part of a line that speaks with plugins. `gateway.line.Line` is the rest."""

    __slots__ = (
        "_answer",
        "_asked",
        "_found",
        "_gates",
        "_giver",
        "_owners",
        "_stopped",
        "exchange",
        "gateway",
    )

    def __init__(self, gateway: Gateway, exchange: Exchange) -> None:
        super().__init__(gateway.loop)
        self.gateway = gateway
        self.exchange = exchange
        self._answer: Answer | None = None
        self._asked: Hook | None = None  # the hook at work
        self._found: Found | None = None  # where the caller's target leads
        self._gates: list[tuple[Awaitable[Reply | None], str]] | None = None
        self._giver = ""  # the plugin that gave the Reply
        self._owners: dict[int, str] | None = None
        self._stopped: GatewayError | None = None

    async def _ask(self, hooks: tuple[Hook, ...], *, fails_open: bool = False) -> Reply | None:
        """`authenticate`, `prepare`, `lookup`: the first Reply counts."""
        exchange = self.exchange
        measures = exchange.spent_ns is not None
        since = monotonic_ns() if measures else 0
        for hook in hooks:
            self._asked = hook
            try:
                reply = hook.call(exchange)
                if hook.waits:
                    reply = await reply
                elif reply is not None and asyncio.iscoroutine(reply):
                    reply = await self.apart(reply)
            except (Exception, asyncio.CancelledError) as error:
                reply = None
                self._excuse(hook, error, may_go_on=fails_open)
            finally:
                if measures:
                    since = self._spend(hook, since)
            if reply is not None:
                return self._checked(hook, reply, Reply)
            if self._stopped is not None:
                raise self._stopped
        return None

    def _spend(self, hook: Hook, since_ns: int) -> int:
        """Add the time since then to what the hook's plugin has spent; the time it is now."""
        now_ns = monotonic_ns()
        spent_ns = self.exchange.spent_ns
        if spent_ns is not None:
            place = hook.place
            spent_ns[place] = spent_ns[place] + (now_ns - since_ns)
        return now_ns

    async def _limit(self) -> Reply | None:
        """The same, with each plugin's own policy for its fault."""
        plan = self.exchange.plan
        for hook in plan.limit:
            self._asked = hook
            since = monotonic_ns()
            try:
                reply = hook.call(self.exchange)
                if hook.waits:
                    reply = await reply
            except (Exception, asyncio.CancelledError) as error:
                reply = None
                is_ours = not isinstance(error, GatewayError)
                self._excuse(hook, error, may_go_on=is_ours and hook.plugin in plan.fails_open)
            finally:
                self._spend(hook, since)
            if reply is not None:
                return self._checked(hook, reply, Reply)
            self._check_stop()
        return None

    def _pick(self, skip: Skip | None) -> Target:
        """The first view counts; without one the provider of the address, once.

        skip: what was said of the target before.
        """
        exchange = self.exchange
        for hook in exchange.plan.pick:
            self._asked = hook
            since = monotonic_ns()
            try:
                target = hook.call(exchange)
            except Exception as error:
                target = None
                self._excuse(hook, error)
            finally:
                self._spend(hook, since)
            if target is not None:
                return self._sound(hook, self._checked(hook, target, Target))
        if self._stopped is not None:
            raise self._stopped
        provider = exchange.provider
        if provider is None or skip is not None:
            raise nowhere(skip)
        found = self._found
        if found is None or found.provider is not provider or found.path is not exchange.path:
            return Target(provider, *provider.locate(exchange.path, exchange.account_id))
        if found.target is None:
            found.target = Target(provider, *provider.locate(found.path, found.account))
        return found.target

    def _sound(self, hook: Hook, target: Target) -> Target:
        """A plugin may have made the path of a caller's words: it must not end its line."""
        if _PATH.fullmatch(target.path) is None:
            raise self.blame(hook, ValueError("the target's path is not one"))
        return target

    async def _send(self, attempt: Attempt) -> Reply | Skip | None:
        """None to go on."""
        exchange = self.exchange
        measures = exchange.spent_ns is not None
        since = monotonic_ns() if measures else 0
        for hook in exchange.plan.send:
            self._asked = hook
            try:
                view = hook.call(exchange, attempt)
                if hook.waits:
                    view = await view
            except (Exception, asyncio.CancelledError) as error:
                view = None
                self._excuse(hook, error)
            finally:
                if measures:
                    since = self._spend(hook, since)
            if view is not None:
                return view if isinstance(view, Skip) else self._checked(hook, view, Reply)
            if self._stopped is not None:
                raise self._stopped
        return None

    def _judge(self, attempt: Attempt) -> Again | None:
        """Every plugin hears of it; the first view counts."""
        first: Again | Keep | None = None
        for hook in self.exchange.plan.judge:
            self._asked = hook
            since = monotonic_ns()
            try:
                view = hook.call(self.exchange, attempt)
            except Exception as error:
                view = None
                self._excuse(hook, error)
            finally:
                self._spend(hook, since)
            if view is not None:
                if not isinstance(view, Keep):
                    self._checked(hook, view, Again)
                first = first or view
        return first if isinstance(first, Again) else None

    def gate(self, awaitable: Awaitable[Reply | None]) -> None:
        """The head waits for this (`Exchange.gate`)."""
        plugin = self._asked.plugin if self._asked is not None else "?"
        self._gates = [*(self._gates or ()), (awaitable, plugin)]

    async def _wait_for_gates(self) -> Reply | None:
        """Wait for what hooks asked the head to wait for, at most as long as for a first byte."""
        attempt = self.exchange.attempt
        limits = self.gateway.config.limits
        timeout_ns = attempt.first_byte_timeout_ns if attempt is not None else limits.stall_timeout
        async with asyncio.timeout(timeout_ns / 1e9):
            for gate, plugin in self._gates or ():
                try:
                    reply = await gate
                except GatewayError:
                    raise
                except Exception as error:
                    raise self._blame(plugin, error, "gate") from error
                if reply is not None:
                    if self._answer is not None:
                        self._answer.abort()
                    return reply
        return None

    def _close_gates(self) -> None:
        for gate, _ in self._gates or ():
            close = getattr(gate, "cancel", None) or getattr(gate, "close", None)
            if close is not None:
                close()

    # -- watchers ----------------------------------------------------------------------------------

    def owns(self, hook: Hook, watcher: object) -> None:
        """Remember whose tap or rewriter this is, to name the plugin if it raises."""
        self._owners = self._owners or {}
        self._owners[id(watcher)] = hook.plugin

    def tap_failed(self, tap: object, error: Exception) -> None:
        """A watcher raised, or the answer cannot be read: it hears no more, the bytes flow on."""
        self.gateway.count("tap_failures")
        self._blame(self._owner(tap), error, "tap")
        failed = getattr(tap, "failed", None)
        if failed is not None:
            failed(error)

    def rewriter_failed(self, rewriter: object, error: Exception) -> None:
        """A rewriter raised: the answer is being cut."""
        self._blame(self._owner(rewriter), error, "rewrite")

    def _owner(self, watcher: Any) -> str:
        if isinstance(watcher, Hook):
            return watcher.plugin
        return (self._owners or {}).get(id(watcher), "?")

    # -- faults ------------------------------------------------------------------------------------

    def blame(self, hook: Hook, error: BaseException) -> OwnFault:
        """The 500 for a hook that raised, with the plugin named in the log."""
        return self._blame(hook.plugin, error, hook.phase)

    def _blame(self, plugin: str, error: BaseException, hook: str) -> OwnFault:
        log.error("plugin_failed", plugin=plugin, hook=hook, error=repr(error), exc_info=error)
        return OwnFault(FAULT, code="plugin_failed", detail=f"plugin {plugin}: {error!r}")

    def _note(self, hook: Hook, error: BaseException) -> None:
        """A fault that is contained: counted and logged."""
        self.gateway.count("plugin_failures")
        self.blame(hook, error)

    def _excuse(self, hook: Hook, error: BaseException, *, may_go_on: bool = False) -> None:
        """Raise what a failed hook comes to, or note it where the phase may go on.

        A cancellation is the line's own once it was stopped or left; any other is that of something
        the hook waited for, and so the hook's failure.
        """
        is_ending = self._stopped is not None or self.exchange.outcome is not None
        if is_ending and isinstance(error, asyncio.CancelledError):
            raise error
        if may_go_on:
            self._note(hook, error)
        elif isinstance(error, GatewayError):
            raise error
        else:
            raise self.blame(hook, error) from error

    def _checked(self, hook: Hook, view: Any, kind: type[T]) -> T:
        """What a hook gave, if it is what it may give."""
        if not isinstance(view, kind):
            error = TypeError(f"wanted a {kind.__name__} or None, got {type(view).__name__}")
            raise self.blame(hook, error)
        self._check_stop()
        if isinstance(view, Reply):
            if not isinstance(view.body, bytes):
                body = type(view.body).__name__
                raise self.blame(hook, TypeError(f"a Reply's body is bytes, not {body}"))
            self._giver = hook.plugin
        return view

    def _check_stop(self) -> None:
        if self._stopped is not None:
            raise self._stopped
