"""`workers = N`: so many processes on one port, and the one that keeps them.

The keeper serves no caller. It binds the port once per worker, starts the workers, and starts anew
whoever dies; a worker's socket stays open meanwhile, so who waits to be accepted only waits. It
passes signals on, and its admin listener speaks for all: probes and reload are its own, everything
else is asked of a worker, over a Unix socket in the state directory.

A worker is `weir run` with three options that are not in its help. It ends when its standard input
does, so none outlives its keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from gateway import admin, plugins
from gateway.clock import monotonic_ns
from gateway.errors import StartError
from gateway.log import flush, get, set_up
from gateway.spokesman import Spokesman
from gateway.stand import Stand

if TYPE_CHECKING:
    from gateway.ports import Sockets
    from gateway.settings import Loaded

log = get("workers")

# A worker imports, starts its plugins and listens within this.
START_TIMEOUT_S: Final = 120.0
# One that dies sooner than this after its start may do so again: the next start is at once, those
# behind it wait ever longer.
EARLY_S: Final = 5.0
BACK_OFF_S: Final = 0.3
BACK_OFF_MAX_S: Final = 10.0
# What a worker may take beyond its drain before it is killed.
STOP_GRACE_S: Final = 5.0


def run(loaded: Loaded) -> int:
    """Keep workers until a signal; the exit code. Raises `StartError` where they cannot start."""
    set_up(loaded.config.log.level, loaded.config.log.format)
    plugins.load(loaded.config, loaded.base)  # what is wrong is said once, and here
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Keeper(loaded).serve())
    finally:
        flush()


def back_off_s(early_deaths: int) -> float:
    """How long the next start waits after so many early deaths in a row."""
    doublings = min(max(early_deaths - 1, 0), 10)  # beyond the longest wait, whatever the count
    return min(BACK_OFF_MAX_S, BACK_OFF_S * (2.0**doublings - 1))


class Worker:
    """A place among the workers, whoever fills it at the time."""

    def __init__(self, number: int, sockets: Sockets, admin_path: Path) -> None:
        self.number = number
        self.sockets = sockets
        self.admin_path = admin_path
        self.process: asyncio.subprocess.Process | None = None
        self.is_ready = False
        self.early_deaths = 0

    def signal(self, number: int) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Keeper:
    """The process that keeps the workers."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._config = loaded.config
        self._workers: list[Worker] = []
        self._ending = asyncio.Event()
        self._is_succeeded = False
        self._has_started = False
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._stop_signal = signal.SIGTERM
        self._spokesman = Spokesman(self._workers)

    async def serve(self) -> int:
        config = self._config
        state = config.state_path
        admin.open_state(state)
        stand = Stand.found(config)
        stem = f"worker-{os.getpid()}"
        self._workers += [
            Worker(number, sockets, state / f"{stem}-{number}.sock")
            for number, sockets in enumerate(stand.callers)
        ]
        self._signals(asyncio.get_running_loop())
        keeping = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(stand.close)
            stack.callback(self._remove_sockets)
            try:
                await self._all_ready(keeping)
                await self._spokesman.open(stack, stand.operators)
                stand.is_ready(stack, self._succeeded)
                stand.announce(workers=len(self._workers))
                await self._stop.wait()
                if self._is_succeeded:
                    await self._spokesman.listen_no_more()
            finally:
                codes = await self._end(keeping, stand)
        return 0 if all(code == 0 for code in codes) else 1

    # -- start -------------------------------------------------------------------------------------

    async def _all_ready(self, keeping: list[asyncio.Task[int]]) -> None:
        """Wait until every worker listens; `StartError` with the first one's failure."""
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait([ready, *keeping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if not self._ready.is_set():
            raise StartError("a worker could not start; its error stands above")
        self._has_started = True

    # -- the workers -------------------------------------------------------------------------------

    async def _keep(self, worker: Worker) -> int:
        """Have this place filled until the end; the exit code of the last one in it."""
        while True:
            began_ns = monotonic_ns()
            event, error = "worker_died", ""
            try:
                code = await self._live_once(worker)
            except OSError as failure:  # no process, memory or descriptor is left for one
                code, event, error = 1, "worker_not_started", failure.strerror or repr(failure)
            worker.is_ready = False
            if self._ending.is_set() or (not self._has_started and not error):
                return code
            lived_s = (monotonic_ns() - began_ns) / 1e9
            worker.early_deaths = worker.early_deaths + 1 if lived_s < EARLY_S else 0
            wait_s = back_off_s(worker.early_deaths)
            log.error(
                event,
                worker=worker.number,
                **({"error": error} if error else {"exit_code": code}),
                lived_s=round(lived_s, 3),
                next_in_s=round(wait_s, 3),
            )
            if not self._has_started:
                return code
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), wait_s)
                return code

    async def _live_once(self, worker: Worker) -> int:
        descriptors = [sock.fileno() for sock in worker.sockets]
        process = worker.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            "run",
            *(("--config", str(self._loaded.path)) if self._loaded.path is not None else ()),
            f"--worker={worker.number}",
            f"--sockets={','.join(map(str, descriptors))}",
            f"--admin-socket={worker.admin_path}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=descriptors,
            # Ctrl-C is the keeper's to hear, which then asks the workers once.
            start_new_session=True,
        )
        if self._ending.is_set():
            worker.signal(self._stop_signal)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await process.stdout.readline()
        except TimeoutError:
            log.error("worker_silent", worker=worker.number)
            worker.signal(signal.SIGKILL)
        else:
            if line:
                worker.is_ready = True
                log.info("worker_ready", worker=worker.number, pid=process.pid)
                if all(each.is_ready for each in self._workers):
                    self._ready.set()
        return await process.wait()

    async def _end(self, keeping: list[asyncio.Task[int]], stand: Stand) -> list[int]:
        """Let all workers drain and end; whoever does not is killed."""
        self._ending.set()
        self._spokesman.is_draining = True
        stand.listen_no_more()  # or callers would wait for workers that take nobody any more
        for worker in self._workers:
            worker.signal(self._stop_signal)
        patience_s = self._config.server.drain_timeout / 1e9 + STOP_GRACE_S
        _, late = await asyncio.wait(keeping, timeout=patience_s)
        if late:
            log.warning("workers_killed", workers=len(late))
            for worker in self._workers:
                worker.signal(signal.SIGKILL)
        found = await asyncio.gather(*keeping, return_exceptions=True)
        for code in found:
            if isinstance(code, BaseException):
                log.error("worker_lost", error=repr(code))
        return [code if isinstance(code, int) else 1 for code in found]

    def _remove_sockets(self) -> None:
        for worker in self._workers:
            worker.admin_path.unlink(missing_ok=True)

    # -- signals -----------------------------------------------------------------------------------

    def _signals(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._pass_on, signal.SIGHUP)

    def _asked_to_stop(self) -> None:
        if self._ending.is_set():
            self._pass_on(signal.SIGTERM)  # the second time: at once
        self._stop.set()
        self._ready.set()

    def _pass_on(self, number: int) -> None:
        for worker in self._workers:
            worker.signal(number)

    def _succeeded(self) -> None:
        """Another gateway has our port: the workers finish, and close nobody's idle connection."""
        self._is_succeeded = True
        self._stop_signal = signal.SIGUSR1
        self._stop.set()
