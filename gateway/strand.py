"""What a line runs in: a task that steps at once.

asyncio's own task takes each step in a turn of the loop of its own and is kept in a weak set of all
tasks; together that costs as much as parsing the request. A strand takes its first step in the call
that starts it, and the step for an answer's head in the very callback that brought the head
(`Waits`), so that a whole answer has left before that callback returns. Whatever else is awaited in
it, futures above all, resumes it as it would a task.

Where plugins' code runs in it, it is their current task (`gateway.current`) and has a context of
its own, so what a plugin binds to a context variable stays with its exchange. `asyncio.all_tasks`
does not list strands; `Gateway.lines` does.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, current_task
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Coroutine, Generator
from contextvars import copy_context
from typing import Any, Final, Protocol, TypeVar, cast

from gateway.current import Current

T = TypeVar("T")


class Wakes(Protocol):
    def wake(self) -> None: ...


class Pause:
    """Awaited by a strand that has told somebody to wake it. Use the constant PAUSE."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        yield self


PAUSE: Final = Pause()


class Waits:
    """Something that its one waiter is woken for.

    A strand leaves itself as the waiter and awaits PAUSE; `news` does the same for anybody. A
    waiter may be woken for nothing, so it asks again for what it waited. `wake` must be the last
    thing that its caller does: the waiter's code runs inside it.
    """

    __slots__ = ("waiter",)

    def __init__(self) -> None:
        self.waiter: Wakes | None = None

    def wake(self) -> None:
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            waiter.wake()

    async def news(self) -> None:
        """Wait until woken, in a strand or a task."""
        future = asyncio.get_running_loop().create_future()
        self.waiter = _Sleeper(future)
        try:
            await future
        finally:
            self.waiter = None


class _Sleeper:
    """A task that awaits a `Waits`."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[None]) -> None:
        self._future = future

    def wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)


class Strand:
    """Runs one coroutine. The coroutine handles its own errors; what it lets through is reported to
    the loop.
    """

    __slots__ = (
        "_current",
        "_joined",
        "_run",
        "_turn",
        "cancel_word",
        "cancels",
        "coroutine",
        "loop",
        "must_cancel",
        "runs",
        "waits_for",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.coroutine: Coroutine[Any, Any, None] | None = None
        self.waits_for: Any = None  # a future, or PAUSE
        self.must_cancel = False  # at the next step
        self.runs = False  # now, so that whoever asks is its own code, or called by it
        self.cancels = 0  # that nobody has taken back
        self.cancel_word: object = None  # what the last one came with; anyio knows its own by it
        self._joined: list[asyncio.Future[None]] | None = None
        self._current: Current | None = None
        self._run: Any = None
        self._turn: asyncio.Handle | None = None  # in which a cancel reaches a pause

    def begin(
        self, coroutine: Coroutine[Any, Any, None], *, in_context: bool = True, as_task: bool = True
    ) -> None:
        """Run a coroutine up to its first wait, and on from there when that is over.

        in_context: there is code of plugins in it, which may set context variables. as_task: it may
        wait, and so ask for the current task.
        """
        self.coroutine = coroutine
        if in_context:
            self._run = copy_context().run
            if as_task:
                self._current = Current(self)
        self.wake()

    def wake(self, error: BaseException | None = None) -> None:
        """Take the next step; what was waited for is there. error: thrown where it waits."""
        run = self._run
        if run is None:
            self._step(error)
            return
        if self._current is None:
            run(self._step, error)
            return
        loop, task = self.loop, cast("asyncio.Task[None]", self._current)
        outer = current_task(loop)
        if outer is not None:
            _leave_task(loop, outer)
        _enter_task(loop, task)
        try:
            run(self._step, error)
        finally:
            _leave_task(loop, task)
            if outer is not None:
                _enter_task(loop, outer)

    def __await__(self) -> Generator[Any, None, None]:
        """Wait until it is over. To give up waiting does not cancel it."""
        if self.coroutine is not None:
            joined = self.loop.create_future()
            self._joined = [*(self._joined or ()), joined]
            yield from joined

    def cancel(self, msg: object = None) -> bool:
        """Throw CancelledError into the coroutine where it waits, in a later turn of the loop."""
        if self.coroutine is None:
            return False
        self.cancels += 1
        self.cancel_word = msg
        waits = self.waits_for
        if waits is PAUSE:
            if self._turn is None:
                self._turn = self.loop.call_soon(self.wake)
        elif waits is not None and waits.cancel(msg=msg):
            return True
        self.must_cancel = True
        return True

    async def apart(self, work: Coroutine[Any, Any, T]) -> T:
        """Await work of plugins, as a task of its own where this is none."""
        return await work if self._current is not None else await self.loop.create_task(work)

    def done(self) -> bool:
        return self.coroutine is None

    # -- inner -------------------------------------------------------------------------------------

    def _step(self, error: BaseException | None) -> None:
        coroutine = self.coroutine
        if coroutine is None:
            return
        self.waits_for = None
        self.runs = True
        if self._turn is not None:
            self._turn.cancel()  # what it waited for was quicker than the cancel
            self._turn = None
        try:
            if self.must_cancel:
                self.must_cancel = False
                word = self.cancel_word
                error = CancelledError() if word is None else CancelledError(word)
            waits = coroutine.send(None) if error is None else coroutine.throw(error)
            if waits is PAUSE and not self.must_cancel:
                self.waits_for = waits
            else:
                self._wait_for(waits)
        except (StopIteration, CancelledError):
            self._over()
        except BaseException as raised:
            self._over()
            if isinstance(raised, KeyboardInterrupt | SystemExit):
                raise
            text = "a line let an exception through"
            self.loop.call_exception_handler({"message": text, "exception": raised})
        finally:
            self.runs = False

    def _wait_for(self, waits: Any) -> None:
        """Be resumed by what the coroutine awaits, as a task would be."""
        if waits is None:
            self.loop.call_soon(self.wake)  # a mere turn of the loop
        elif waits is PAUSE:
            self._turn = self.loop.call_soon(self.wake)
        elif getattr(waits, "_asyncio_future_blocking", None) and waits.get_loop() is self.loop:
            waits._asyncio_future_blocking = False  # noqa: SLF001  # asyncio's own protocol
            waits.add_done_callback(self._resume)
            self.waits_for = waits
            if self.must_cancel and waits.cancel(msg=self.cancel_word):
                self.must_cancel = False
        else:
            error = RuntimeError(f"a line awaited what is no future of its loop: {waits!r}")
            self.loop.call_soon(self.wake, error)

    def _resume(self, future: asyncio.Future[Any]) -> None:
        try:
            future.result()
        except BaseException as error:
            self.wake(error)
        else:
            self.wake()

    def _over(self) -> None:
        self.coroutine = self._current = None
        if self._joined is not None:
            for future in self._joined:
                if not future.done():
                    future.set_result(None)
