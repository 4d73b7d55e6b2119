"""The process: start, signals, reload, drain, end.

Start is in the order of trust: state directory, plugins' `lifespan`s, the operator's listener, the
callers'. The end is the reverse. SIGTERM or SIGINT drains: readiness turns 503, listening stops,
exchanges finish within `drain_timeout`, the rest are cut truthfully, exit 0; a second signal cuts
at once. SIGHUP reloads: everything is validated first, then swapped in one step; running exchanges
keep the plan they have.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec
import uvloop
from aiohttp import web

from gateway import admin, plugins
from gateway.calls import call
from gateway.clock import Clock
from gateway.convert import ConfigErrors
from gateway.doors import Doors
from gateway.errors import StartError
from gateway.forwarded import screen_of
from gateway.gateway import Answered, Endpoint, Gateway, Request, Route
from gateway.listener import Callers
from gateway.log import flush, get, set_up
from gateway.pool import Pool
from gateway.ports import Sockets
from gateway.providers import build
from gateway.routes import Table
from gateway.settings import load
from gateway.stand import Place, Stand
from gateway.warm import Warming

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.config import Config
    from gateway.exchange import Exchange
    from gateway.settings import Loaded

log = get("server")

# What a reload cannot change; it says so instead.
FIXED: Final = ("state_dir", "enabled", "server", "admin")
# After the drain is over, connections get this long to take their last bytes.
LAST_BYTES_S: Final = 2.0
# A worker's standard input, whose end is its keeper's.
KEEPER: Final = 0
# A relay makes and drops many small objects that reference counting frees by itself; the collector
# looks rarely.
GC_THRESHOLD: Final = (20_000, 50, 50)


def run(loaded: Loaded, place: Place | None = None) -> int:
    """Serve until a signal; the exit code. Raises `StartError` where it cannot start.

    place: among the workers of a keeper (`gateway.workers`), which has bound the sockets.
    """
    set_up(loaded.config.log.level, loaded.config.log.format)
    registry = plugins.load(loaded.config, loaded.base)
    _raise_descriptor_limit()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Server(loaded, registry, place).serve())
    finally:
        flush()
    return 0


class Server:
    """One process of the gateway."""

    def __init__(
        self, loaded: Loaded, registry: plugins.Registry, place: Place | None = None
    ) -> None:
        self._loaded = loaded
        self._registry = registry
        self._place = place
        self._is_succeeded = False
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._routes: list[Route] = []
        self.gateway: Gateway
        self.callers: Callers
        self.doors: Doors
        self.warming: Warming

    async def serve(self) -> None:
        config = self._loaded.config
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_report)
        clock = Clock(loop)
        pool = Pool(loop, clock, config.limits)
        providers = build(config, config.state_path)
        table = self._table(config, providers)
        self.gateway = Gateway(config, providers, table, self._registry.plans, pool, self._call)
        self.callers = Callers(self.gateway, clock, screen_of(config))
        self.doors = Doors(self.callers, config.server)
        self.warming = Warming(self.gateway)
        self._signals(loop)
        async with AsyncExitStack() as stack:
            stack.callback(clock.close)
            stack.callback(pool.close)
            tokens = admin.open_state(config.state_path)
            await self._enter_plugins(stack)
            stack.push_async_callback(self.gateway.stop_tasks)
            self.warming.renew()
            for name, named in config.gateways.items():
                if named.open:
                    log.warning("gateway_open", gateway=name)
            endpoints = self._endpoints()
            await self.gateway.first_done()
            place = self._place
            stand = Stand(config, [place.sockets], []) if place else Stand.found(config)
            stack.callback(stand.close)
            sites = await self._open_admin(stack, tokens, endpoints, stand.operators)
            await self._open_callers(stack, endpoints, stand)
            if place is None:
                stand.is_ready(stack, self._succeeded)
            stand.announce()
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLD)
            await self._stop.wait()
            if self._is_succeeded:
                for site in sites:
                    await site.stop()
            await self._drain()

    # -- start -------------------------------------------------------------------------------------

    async def _enter_plugins(self, stack: AsyncExitStack) -> None:
        for plugin in self._registry.plugins:
            if "lifespan" in plugin.hooks:
                try:
                    await stack.enter_async_context(plugin.instance.lifespan(self.gateway))
                except StartError as error:
                    raise StartError(f'plugin "{plugin.name}": {error}') from error
                except Exception as error:
                    raise StartError(
                        f'plugin "{plugin.name}" failed to start: {error!r}'
                    ) from error

    def _endpoints(self) -> list[Endpoint]:
        found: list[Endpoint] = []
        for plugin in self._registry.plugins:
            if "endpoints" in plugin.hooks:
                try:
                    found.extend(self._served(plugin.instance.endpoints(self.gateway)))
                except StartError as error:
                    raise StartError(f'plugin "{plugin.name}": {error}') from error
                except Exception as error:
                    raise StartError(
                        f'plugin "{plugin.name}" failed to start: {error!r}'
                    ) from error
        return found

    def _served(self, items: Iterable[Endpoint | Route]) -> Iterator[Endpoint]:
        """The endpoints among what a plugin serves; its routes go into the table."""
        for item in items:
            if isinstance(item, Route):
                self.gateway.table.add_route(item)
                self._routes.append(item)
            else:
                yield item

    async def _open_admin(
        self, stack: AsyncExitStack, tokens: Any, endpoints: list[Endpoint], sockets: Sockets
    ) -> list[web.BaseSite]:
        app = admin.application(
            self.gateway,
            tokens,
            [endpoint for endpoint in endpoints if endpoint.listener == "admin"],
            self.reload,
            host=self.gateway.config.admin.host,
            allowed_hosts=lambda: self.gateway.config.admin.allowed_hosts,
        )
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        sites: list[web.BaseSite] = [web.SockSite(runner, sock) for sock in sockets]
        if self._place is not None:
            sites.append(web.UnixSite(runner, self._place.admin_path))
        for site in sites:
            await site.start()
        if self._place is not None:
            self._place.admin_path.chmod(0o600)
        return sites

    async def _open_callers(
        self, stack: AsyncExitStack, endpoints: list[Endpoint], stand: Stand
    ) -> None:
        settings = self.gateway.config.server
        own = [endpoint for endpoint in endpoints if endpoint.listener == "callers"]
        if own:
            app = admin.pages(
                own,
                host=settings.host,
                allowed_hosts=lambda: self.gateway.config.server.allowed_hosts,
            )
            runner = web.AppRunner(app, access_log=None, handle_signals=False)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            assert runner.server is not None
            self.callers.open_pages(runner.server, own)
        stack.callback(self.doors.close)
        await self.doors.open(stand.callers[0])

    def _table(self, config: Config, providers: Any) -> Table:
        table = Table(config, providers)
        for route in self._routes:
            table.add_route(route)
        return table

    async def _call(self, parent: Exchange | None, request: Request) -> Answered:
        return await call(self.gateway, parent, request)

    # -- signals -----------------------------------------------------------------------------------

    def _signals(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._asked_to_reload)
        if self._place is not None:
            loop.add_signal_handler(signal.SIGUSR1, self._succeeded)
            loop.add_reader(KEEPER, self._keeper_is_gone, loop)

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def _succeeded(self) -> None:
        """Another gateway has our port: finish what runs, and close nobody's idle connection."""
        self._is_succeeded = True
        self._stop.set()

    def _keeper_is_gone(self, loop: asyncio.AbstractEventLoop) -> None:
        if not os.read(KEEPER, 1):
            loop.remove_reader(KEEPER)
            log.warning("keeper_gone")
            self._asked_to_stop()

    def _asked_to_reload(self) -> None:
        with contextlib.suppress(StartError):  # it is in the log, and the old configuration stays
            self.reload()

    def reload(self) -> list[str]:
        """Load the configuration anew and swap it in; gives the keys whose change waits for a
        restart.
        """
        try:
            return self._reload()
        except StartError as error:
            log.error("reload_failed", error=str(error))
            raise

    def _reload(self) -> list[str]:
        old = self.gateway.config
        loaded = load(self._loaded.path, os.environ)
        fresh = loaded.config
        waiting = [key for key in FIXED if getattr(fresh, key) != getattr(old, key)]
        config = msgspec.structs.replace(fresh, **{key: getattr(old, key) for key in FIXED})
        try:
            plans = plugins.replan(config, self._registry)
            providers = build(config, config.state_path)
            context = self.doors.read_again()
        except ConfigErrors as errors:
            raise loaded.placed(errors) from errors
        table = self._table(config, providers)
        screen = screen_of(config)
        # From here on nothing can fail.
        gateway = self.gateway
        gateway.config, gateway.providers, gateway.table, gateway.plans = (
            config,
            providers,
            table,
            plans,
        )
        gateway.pool.renew(config.limits)
        self.warming.renew()
        self.callers.limits = config.limits
        self.doors.context = context
        self.callers.screen = screen
        set_up(config.log.level, config.log.format)
        for warning in loaded.warnings:
            log.warning("config_warning", warning=warning)
        log.info("reloaded", restart_needed=waiting)
        return waiting

    # -- end ---------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        callers = self.callers
        log.info(
            "draining", connections=len(callers.connections), exchanges=len(self.gateway.lines)
        )
        callers.drain(gently=self._is_succeeded)
        self.doors.close()
        drained = asyncio.ensure_future(
            callers.empty(self.gateway.config.server.drain_timeout / 1e9)
        )
        hurried = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({drained, hurried}, return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        if self.gateway.lines:
            log.warning("exchanges_cut", exchanges=len(self.gateway.lines))
        callers.cut()
        if not self._hurry.is_set():
            last = asyncio.ensure_future(callers.empty(LAST_BYTES_S))
            await asyncio.wait({last, hurried}, return_when=asyncio.FIRST_COMPLETED)
            last.cancel()
        hurried.cancel()
        callers.abort()
        await asyncio.sleep(0)  # lets the aborted lines account
        await callers.empty(0.5)


def _raise_descriptor_limit() -> None:
    """Two sockets per stream: take all the descriptors that the hard limit gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, RuntimeError) and "the handler is closed" in str(error):
        # uvloop reads on from a TLS connection that was closed in the same turn of the loop, and
        # then tells its end as ever.
        log.debug("read_on_when_closed", error=str(error))
        return
    log.error("unexpected", message=context.get("message", ""), error=repr(error), exc_info=error)
