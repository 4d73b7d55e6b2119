"""What a line runs in: a task that steps at once.

asyncio's own task takes each step in a turn of the loop of its own and is kept in a weak set of all
tasks; together that costs as much as parsing the request. A strand takes its first step in the call
that starts it, and the step for an answer's head in the very callback that brought the head
(`Waits`), so that a whole answer has left before that callback returns. Whatever else is awaited in
it, futures above all, resumes it as it would a task.

To the code that runs in it, a strand is the current task: timeouts, task groups and libraries that
ask for it find what they need (Python's documentation of asyncio, "Extending", "Task lifetime
support"). Each has a context of its own, so what a plugin binds to a context variable stays with
its exchange. `asyncio.all_tasks` does not list strands; `Gateway.lines` does.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, current_task
from asyncio.tasks import _enter_task, _leave_task  # type: ignore[attr-defined]  # public in asyncio
from collections.abc import Coroutine, Generator, Iterator
from contextvars import copy_context
from typing import Any, Protocol


class Wakes(Protocol):
    def wake(self) -> None: ...


class Waits:
    """Something to await until it is woken, in a strand at once and in a task as a future is.

    A waiter may be woken for nothing, so it asks again for what it waited. There is one at a time.
    `wake` must be the last thing that its caller does: the waiter's code runs inside it.
    """

    __slots__ = ("waiter",)

    def __init__(self) -> None:
        self.waiter: Wakes | None = None

    def __await__(self) -> Iterator[Any]:
        return iter((self,)) if type(current_task()) is Strand else self._in_task()

    def _in_task(self) -> Generator[Any, None, None]:
        future = asyncio.get_running_loop().create_future()
        self.waiter = _Sleeper(future)
        try:
            yield from future
        finally:
            self.waiter = None

    def wake(self) -> None:
        waiter, self.waiter = self.waiter, None
        if waiter is not None:
            waiter.wake()


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

    # `_must_cancel` and `_fut_waiter` bear the names that asyncio's task has and anyio looks at.
    __slots__ = (
        "__weakref__",
        "_cancels",
        "_coroutine",
        "_fut_waiter",
        "_joined",
        "_loop",
        "_must_cancel",
        "_run",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]
    ) -> None:
        self._loop = loop
        self._coroutine: Coroutine[Any, Any, None] | None = coroutine
        self._run = copy_context().run
        self._fut_waiter: Any = None
        self._must_cancel = False
        self._cancels = 0
        self._joined: list[asyncio.Future[None]] | None = None

    def wake(self, error: BaseException | None = None) -> None:
        """Take the next step; what was waited for is there. error: thrown where it waits."""
        coroutine = self._coroutine
        if coroutine is None:
            return
        loop = self._loop
        outer = current_task(loop)
        if outer is not None:
            _leave_task(loop, outer)
        _enter_task(loop, self)
        self._fut_waiter = None
        try:
            if self._must_cancel:
                self._must_cancel = False
                error = CancelledError()
            if error is None:
                waits = self._run(coroutine.send, None)
            else:
                waits = self._run(coroutine.throw, error)
            if isinstance(waits, Waits) and not self._must_cancel:
                self._fut_waiter = waits
                waits.waiter = self
            else:
                self._wait_for(waits)
        except (StopIteration, CancelledError):
            self._end()
        except BaseException as raised:
            self._end()
            if isinstance(raised, KeyboardInterrupt | SystemExit):
                raise
            text = "a line let an exception through"
            loop.call_exception_handler({"message": text, "exception": raised, "task": self})
        finally:
            _leave_task(loop, self)
            if outer is not None:
                _enter_task(loop, outer)

    def __await__(self) -> Generator[Any, None, None]:
        """Wait until it is over. To give up waiting does not cancel it."""
        if self._coroutine is not None:
            joined = self._loop.create_future()
            self._joined = [*(self._joined or ()), joined]
            yield from joined

    # -- what a task offers ------------------------------------------------------------------------

    def cancel(self, msg: object = None) -> bool:
        """Throw CancelledError into the coroutine where it waits, in a later turn of the loop."""
        if self._coroutine is None:
            return False
        self._cancels += 1
        waits = self._fut_waiter
        if isinstance(waits, Waits):
            waits.waiter = self._fut_waiter = None
            self._loop.call_soon(self.wake)
        elif waits is not None and waits.cancel(msg=msg):
            return True
        self._must_cancel = True
        return True

    def cancelling(self) -> int:
        return self._cancels

    def uncancel(self) -> int:
        if self._cancels:
            self._cancels -= 1
        return self._cancels

    def done(self) -> bool:
        return self._coroutine is None

    def get_coro(self) -> Coroutine[Any, Any, None] | None:
        return self._coroutine

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def get_name(self) -> str:
        return f"line-{id(self):x}"

    # -- inner -------------------------------------------------------------------------------------

    def _wait_for(self, waits: Any) -> None:
        """Be resumed by what the coroutine awaits, as a task would be."""
        if waits is None or isinstance(waits, Waits):
            self._loop.call_soon(self.wake)  # a mere turn of the loop, or a cancellation
        elif getattr(waits, "_asyncio_future_blocking", None):
            waits._asyncio_future_blocking = False  # noqa: SLF001  # asyncio's own protocol
            waits.add_done_callback(self._resume)
            self._fut_waiter = waits
            if self._must_cancel and waits.cancel():
                self._must_cancel = False
        else:
            error = RuntimeError(f"a line awaited what is no future: {waits!r}")
            self._loop.call_soon(self.wake, error)

    def _resume(self, future: asyncio.Future[Any]) -> None:
        try:
            future.result()
        except BaseException as error:
            self.wake(error)
        else:
            self.wake()

    def _end(self) -> None:
        self._coroutine = None
        if self._joined is not None:
            for future in self._joined:
                if not future.done():
                    future.set_result(None)
