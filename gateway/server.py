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
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson
import uvloop
from aiohttp import web

from gateway import admin, plugins
from gateway.caller import Caller
from gateway.calls import call
from gateway.clock import Clock
from gateway.convert import ConfigErrors
from gateway.errors import StartError
from gateway.gateway import Answered, Endpoint, Gateway, Request, Route
from gateway.listener import Callers
from gateway.log import flush, get, set_up
from gateway.pool import Pool
from gateway.providers import build
from gateway.refusal import Screen
from gateway.routes import Table
from gateway.settings import load

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
# Callers waiting to be accepted; the kernel cuts it to its own bound (net.core.somaxconn).
BACKLOG: Final = 4096
# A relay makes and drops many small objects that reference counting frees by itself; the collector
# looks rarely.
GC_THRESHOLD: Final = (20_000, 50, 50)


def run(loaded: Loaded) -> int:
    """Serve until a signal; the exit code. Raises `StartError` where it cannot start."""
    set_up(loaded.config.log.level, loaded.config.log.format)
    registry = plugins.load(loaded.config, loaded.base)
    _raise_descriptor_limit()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Server(loaded, registry).serve())
    finally:
        flush()
    return 0


class Server:
    """One process of the gateway."""

    def __init__(self, loaded: Loaded, registry: plugins.Registry) -> None:
        self._loaded = loaded
        self._registry = registry
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._routes: list[Route] = []
        self.gateway: Gateway
        self.callers: Callers

    async def serve(self) -> None:
        config = self._loaded.config
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_report)
        clock = Clock(loop)
        pool = Pool(loop, clock, config.limits)
        providers = build(config, config.state_path)
        table = self._table(config, providers)
        self.gateway = Gateway(config, providers, table, self._registry.plans, pool, self._call)
        self.callers = Callers(self.gateway, clock, Screen(config))
        self._signals(loop)
        async with AsyncExitStack() as stack:
            stack.callback(clock.close)
            stack.callback(pool.close)
            token = _state(config.state_path)
            await self._enter_plugins(stack)
            stack.push_async_callback(self.gateway.stop_tasks)
            for name, named in config.gateways.items():
                if named.open:
                    log.warning("gateway_open", gateway=name)
            endpoints = self._endpoints()
            gateway_admin = await self._open_admin(stack, token, endpoints)
            listener = await self._open_callers(stack, loop, endpoints)
            _announce(_address(listener.sockets[0].getsockname()), gateway_admin)
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLD)
            await self._stop.wait()
            await self._drain(listener)

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
        self, stack: AsyncExitStack, token: Any, endpoints: list[Endpoint]
    ) -> str:
        settings = self.gateway.config.admin
        app = admin.application(
            self.gateway,
            token,
            [endpoint for endpoint in endpoints if endpoint.listener == "admin"],
            self.reload,
            host=settings.host,
            allowed_hosts=lambda: self.gateway.config.admin.allowed_hosts,
        )
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, settings.host, settings.port, shutdown_timeout=1)
        try:
            await site.start()
        except OSError as error:
            raise _taken("admin", settings, error) from error
        return _address(runner.addresses[0])

    async def _open_callers(
        self, stack: AsyncExitStack, loop: asyncio.AbstractEventLoop, endpoints: list[Endpoint]
    ) -> asyncio.Server:
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
        try:
            server = await loop.create_server(
                lambda: Caller(self.callers),
                settings.host,
                settings.port,
                backlog=BACKLOG,
                reuse_address=True,
            )
        except OSError as error:
            raise _taken("server", settings, error) from error
        stack.callback(server.close)
        return server

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

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

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
        except ConfigErrors as errors:
            raise loaded.placed(errors) from errors
        table = self._table(config, providers)
        screen = Screen(config)
        # From here on nothing can fail.
        gateway = self.gateway
        gateway.config, gateway.providers, gateway.table, gateway.plans = (
            config,
            providers,
            table,
            plans,
        )
        gateway.pool.limits = self.callers.limits = config.limits
        self.callers.screen = screen
        set_up(config.log.level, config.log.format)
        for warning in loaded.warnings:
            log.warning("config_warning", warning=warning)
        log.info("reloaded", restart_needed=waiting)
        return waiting

    # -- end ---------------------------------------------------------------------------------------

    async def _drain(self, listener: asyncio.Server) -> None:
        callers = self.callers
        log.info(
            "draining", connections=len(callers.connections), exchanges=len(self.gateway.lines)
        )
        callers.drain()
        listener.close()
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


def _state(path: Path) -> Any:
    """Make the state directory for its owner alone, and the admin token in it."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return admin.admin_token(path)
    except OSError as error:
        raise StartError(
            f"state_dir {path}: {error.strerror or error}; "
            "set state_dir (or WEIR_STATE_DIR) to a directory that can be written"
        ) from error


def _taken(table: str, settings: Any, error: OSError) -> StartError:
    return StartError(
        f"[{table}] {settings.host}:{settings.port}: {error.strerror or error}; "
        f"set another {table}.port or stop what listens there"
    )


def _announce(callers: str, operators: str) -> None:
    """The one line on standard output, for whoever started us."""
    line = {"event": "listening", "callers": callers, "admin": operators, "pid": os.getpid()}
    sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
    sys.stdout.buffer.flush()


def _address(name: Any) -> str:
    host, port = name[0], name[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _raise_descriptor_limit() -> None:
    """Two sockets per stream: take all the descriptors that the hard limit gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    log.error("unexpected", message=context.get("message", ""), error=repr(error), exc_info=error)
