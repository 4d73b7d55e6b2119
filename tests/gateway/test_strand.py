"""A strand: when it steps, what it can wait for, how it is cancelled, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from gateway.strand import PAUSE, Strand, Waits
from tests.gateway.ends import run

# What runs in it: nothing of a plugin's, hooks that do not wait, or any.
MODES: dict[str, dict[str, bool]] = {
    "bare": {"in_context": False, "as_task": False},
    "context": {"as_task": False},
    "task": {},
}
Body = Callable[[Strand], Coroutine[Any, Any, None]]
word: ContextVar[str] = ContextVar("word", default="none")


def begun(body: Body, *, mode: str = "task") -> Strand:
    strand = Strand(asyncio.get_running_loop())
    strand.begin(body(strand), **MODES[mode])
    return strand


async def rung(bell: Waits, strand: Strand) -> None:
    """Wait for a bell as a line waits for an answer's head: it is woken inside `bell.wake()`."""
    bell.waiter = strand
    try:
        await PAUSE
    finally:
        bell.waiter = None


async def turns(count: int = 5) -> None:
    """Let the loop turn, often enough for whatever is due at once."""
    for _ in range(count):
        await asyncio.sleep(0)


any_mode = pytest.mark.parametrize("mode", MODES)


# -- steps -----------------------------------------------------------------------------------------


@any_mode
def test_it_runs_at_once_up_to_its_first_wait(mode):
    async def story() -> None:
        order: list[str] = []
        bell = Waits()

        async def body(strand: Strand) -> None:
            order.append("first step")
            await rung(bell, strand)
            order.append("second step")

        strand = begun(body, mode=mode)
        assert order == ["first step"]
        assert not strand.done()
        await turns()
        assert order == ["first step"]
        bell.wake()
        assert order == ["first step", "second step"]
        assert strand.done()

    run(story())


@any_mode
def test_what_never_waits_is_over_when_it_has_begun(mode):
    async def story() -> None:
        order: list[str] = []

        async def body(strand: Strand) -> None:
            order.append("ran")

        assert begun(body, mode=mode).done()
        assert order == ["ran"]

    run(story())


@any_mode
def test_each_wake_is_one_step_in_the_very_call(mode):
    async def story() -> None:
        bell = Waits()
        steps: list[int] = []

        async def body(strand: Strand) -> None:
            for number in range(3):
                await rung(bell, strand)
                steps.append(number)

        strand = begun(body, mode=mode)
        for number in range(3):
            assert steps == list(range(number))
            bell.wake()
        assert steps == [0, 1, 2]
        assert strand.done()
        await turns()
        assert steps == [0, 1, 2]

    run(story())


@any_mode
def test_a_bell_without_a_waiter_wakes_nobody(mode):
    async def story() -> None:
        bell = Waits()
        steps: list[str] = []

        async def body(strand: Strand) -> None:
            await rung(bell, strand)
            steps.append("woken")
            await asyncio.get_running_loop().create_future()

        bell.wake()
        strand = begun(body, mode=mode)
        bell.wake()
        assert bell.waiter is None
        bell.wake()
        await turns()
        assert steps == ["woken"]
        strand.cancel()
        await strand

    run(story())


@any_mode
def test_a_bell_that_has_rung_forgets_its_waiter(mode):
    async def story() -> None:
        bell, other = Waits(), Waits()
        steps: list[str] = []

        async def body(strand: Strand) -> None:
            for each in (bell, other):
                each.waiter = strand
                await PAUSE
                steps.append("woken")

        strand = begun(body, mode=mode)
        bell.wake()
        bell.wake()
        assert steps == ["woken"]
        other.wake()
        assert steps == ["woken", "woken"]
        assert strand.done()

    run(story())


@any_mode
def test_what_is_over_takes_no_step_more(mode):
    async def story() -> None:
        steps: list[str] = []

        async def body(strand: Strand) -> None:
            steps.append("ran")

        strand = begun(body, mode=mode)
        strand.wake()
        strand.wake(LookupError("on purpose"))
        await turns()
        assert steps == ["ran"]

    run(story())


@any_mode
def test_a_step_inside_another_strands_step_comes_back_to_it(mode):
    async def story() -> None:
        order: list[str] = []
        bell = Waits()

        async def sleeper(strand: Strand) -> None:
            await rung(bell, strand)
            order.append("sleeper")

        async def ringer(strand: Strand) -> None:
            order.append("before")
            bell.wake()
            order.append("after")

        begun(sleeper, mode=mode)
        begun(ringer, mode=mode)
        assert order == ["before", "sleeper", "after"]

    run(story())


# -- news ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["task", "strand"])
def test_news_wakes_whoever_waits(kind):
    async def story() -> None:
        bell = Waits()
        heard: list[int] = []

        async def body(_: object) -> None:
            for number in range(2):
                await bell.news()
                heard.append(number)

        waiter: Any = begun(body) if kind == "strand" else asyncio.ensure_future(body(None))
        await turns()
        bell.wake()
        bell.wake()  # before it has heard of the first: the same news
        await turns()
        assert heard == [0]
        bell.wake()
        await waiter
        assert heard == [0, 1]
        assert bell.waiter is None

    run(story())


@pytest.mark.parametrize("kind", ["task", "strand"])
def test_news_that_is_not_waited_for_any_more_wakes_nobody(kind):
    async def story() -> None:
        bell = Waits()
        ends: list[str] = []

        async def body(_: object) -> None:
            try:
                await bell.news()
            except asyncio.CancelledError:
                ends.append("cancelled")

        for rings in (True, False):
            waiter: Any = begun(body) if kind == "strand" else asyncio.ensure_future(body(None))
            await turns()
            waiter.cancel()
            if rings:
                bell.wake()  # in the same turn
            await waiter
            assert ends.pop() == "cancelled"
            assert bell.waiter is None

    run(story())


# -- what it can wait for --------------------------------------------------------------------------


def had(body: Callable[[], Coroutine[Any, Any, Any]], *, mode: str = "task") -> Any:
    """Run a strand and give what its coroutine came to; what it raised is raised."""

    async def story() -> Any:
        found: list[Any] = []

        async def whole(_: Strand) -> None:
            try:
                found.append(await body())
            except Exception as error:
                found.append(error)

        await begun(whole, mode=mode)
        (one,) = found
        if isinstance(one, Exception):
            raise one
        return one

    return run(story())


def later(call: Callable[..., object], *arguments: object) -> None:
    asyncio.get_running_loop().call_later(0.002, call, *arguments)


@any_mode
def test_a_future_resumes_it_with_its_result(mode):
    async def body() -> int:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        later(future.set_result, 5)
        return await future

    assert had(body, mode=mode) == 5


@any_mode
def test_a_future_resumes_it_with_its_exception(mode):
    async def body() -> None:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        later(future.set_exception, LookupError("on purpose"))
        await future

    with pytest.raises(LookupError, match="on purpose"):
        had(body, mode=mode)


@any_mode
def test_a_future_that_is_cancelled_by_others_is_a_cancelled_error(mode):
    async def body() -> str:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        later(future.cancel)
        try:
            await future
        except asyncio.CancelledError:
            return "cancelled"
        return "went on"

    assert had(body, mode=mode) == "cancelled"


@any_mode
def test_a_future_that_is_done_does_not_hold_it_up(mode):
    async def story() -> None:
        async def body(_: Strand) -> None:
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            future.set_result(5)
            assert await future == 5

        assert begun(body, mode=mode).done()

    run(story())


@any_mode
def test_sleep_0_is_a_turn_of_the_loop(mode):
    async def story() -> None:
        order: list[str] = []

        async def body(_: Strand) -> None:
            asyncio.get_running_loop().call_soon(order.append, "others")
            await asyncio.sleep(0)
            order.append("strand")

        strand = begun(body, mode=mode)
        assert order == []
        await strand
        assert order == ["others", "strand"]

    run(story())


@any_mode
def test_it_can_wait_for_tasks_and_for_many_things_at_once(mode):
    async def one(value: int) -> int:
        await asyncio.sleep(0.001 * value)
        return value

    async def body() -> list[Any]:
        task = asyncio.ensure_future(one(3))
        some = await asyncio.gather(one(1), one(2), task)
        done, pending = await asyncio.wait([asyncio.ensure_future(one(4))])
        return [*some, *(each.result() for each in done), *pending]

    assert had(body, mode=mode) == [1, 2, 3, 4]


@any_mode
def test_an_error_among_many_things_is_raised(mode):
    async def fails() -> None:
        await asyncio.sleep(0)
        raise LookupError("on purpose")

    async def body() -> None:
        await asyncio.gather(asyncio.sleep(0.001), fails())

    with pytest.raises(LookupError, match="on purpose"):
        had(body, mode=mode)


@any_mode
def test_it_can_wait_for_another_thread(mode):
    async def body() -> bool:
        return await asyncio.to_thread(threading.current_thread) is not threading.main_thread()

    assert had(body, mode=mode) is True


@any_mode
def test_locks_queues_and_events_go_between_strands_and_tasks(mode):
    async def story() -> None:
        lock, event = asyncio.Lock(), asyncio.Event()
        queue: asyncio.Queue[str] = asyncio.Queue(1)

        async def gives(_: Strand) -> None:
            async with lock:
                for text in ("one", "two", "three"):
                    await queue.put(text)
            await event.wait()

        async def takes(_: Strand) -> None:
            taken = [await queue.get() for _ in range(3)]
            async with lock:
                assert taken == ["one", "two", "three"]
            event.set()

        await asyncio.gather(begun(gives, mode=mode), begun(takes, mode=mode))
        assert queue.empty()

    run(story())


@any_mode
def test_an_async_generator_is_read_and_closed(mode):
    closed: list[str] = []

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            for number in range(10):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async def body() -> list[int]:
        async with contextlib.aclosing(numbers()) as source:
            return [number async for number in source if number % 2]

    assert had(body, mode=mode) == [1, 3, 5, 7, 9]
    assert closed == ["closed"]


class Yields:
    """Awaitable, but no future."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __await__(self) -> Any:
        yield self.value


@any_mode
def test_what_is_no_future_is_an_error_where_it_is_awaited(mode):
    async def body() -> str:
        try:
            await Yields("text")
        except RuntimeError as error:
            await asyncio.sleep(0)
            return str(error)
        return "went on"

    assert "'text'" in had(body, mode=mode)


@any_mode
@pytest.mark.parametrize("is_awaited_elsewhere", [True, False])
def test_a_future_that_is_yielded_and_not_awaited_is_an_error(is_awaited_elsewhere, mode):
    async def body() -> None:
        future = asyncio.get_running_loop().create_future()

        async def waits(_: Strand) -> None:
            await future

        strand = begun(waits, mode=mode) if is_awaited_elsewhere else None
        try:
            await Yields(future)
        finally:
            if strand is not None:
                strand.cancel()

    with pytest.raises(RuntimeError):
        had(body, mode=mode)


# -- being cancelled -------------------------------------------------------------------------------

WAITS = ("pause", "future", "turn", "task", "news")


class Waiter:
    """Waits in one of several ways, over and over, and notes how each wait ended."""

    def __init__(self, way: str, *, ends_when_cancelled: bool = True, count: int = 1) -> None:
        self.way = way
        self.ends_when_cancelled = ends_when_cancelled
        self.count = count
        self.bell = Waits()
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.steps: list[str] = []

    async def body(self, strand: Strand) -> None:
        for _ in range(self.count):
            self.steps.append("waits")
            try:
                await self.wait(strand)
            except asyncio.CancelledError:
                self.steps.append("cancelled")
                if self.ends_when_cancelled:
                    raise
            else:
                self.steps.append("woken")

    async def wait(self, strand: Strand) -> None:
        self.future = asyncio.get_running_loop().create_future()
        if self.way == "pause":
            await rung(self.bell, strand)
        elif self.way == "news":
            await self.bell.news()
        elif self.way == "future":
            await self.future
        elif self.way == "task":
            await asyncio.ensure_future(self.sleep())
        else:
            await asyncio.sleep(0)

    async def sleep(self) -> None:
        await self.future

    def wake(self) -> None:
        """Bring what is waited for, where somebody can."""
        if self.way in ("pause", "news"):
            self.bell.wake()
        elif not self.future.done():
            self.future.set_result(None)


@any_mode
@pytest.mark.parametrize("way", WAITS)
def test_a_cancelled_wait_raises_in_a_later_turn(way, mode):
    async def story() -> None:
        waiter = Waiter(way)
        strand = begun(waiter.body, mode=mode)
        if way == "task":
            await turns(2)
        assert strand.cancel()
        assert waiter.steps == ["waits"]
        await strand
        assert waiter.steps == ["waits", "cancelled"]
        waiter.wake()
        await turns()
        assert waiter.steps == ["waits", "cancelled"]

    run(story())


def test_to_cancel_it_cancels_what_it_waits_for():
    async def story() -> None:
        waiter = Waiter("future")
        strand = begun(waiter.body)
        future = waiter.future
        strand.cancel()
        assert future.cancelled()
        await strand

        waiter = Waiter("task")
        strand = begun(waiter.body)
        await turns()
        strand.cancel()
        await strand
        assert waiter.future.cancelled()

    run(story())


@any_mode
@pytest.mark.parametrize("way", WAITS)
def test_cancelled_before_it_waits_it_is_told_at_its_first_wait(way, mode):
    async def story() -> None:
        waiter = Waiter(way)

        async def body(strand: Strand) -> None:
            assert strand.cancel()
            waiter.steps.append("goes on")
            await waiter.body(strand)

        strand = begun(body, mode=mode)
        assert waiter.steps == ["goes on", "waits"]
        await strand
        assert waiter.steps == ["goes on", "waits", "cancelled"]

    run(story())


def test_cancelled_in_its_last_step_it_ends():
    async def story() -> None:
        async def body(strand: Strand) -> None:
            strand.cancel()

        strand = begun(body)
        assert strand.done()
        await turns()

    run(story())


def test_what_has_not_begun_or_is_over_cannot_be_cancelled():
    async def story() -> None:
        strand = Strand(asyncio.get_running_loop())
        assert not strand.cancel()

        async def body(_: Strand) -> None:
            await asyncio.sleep(0)

        strand = begun(body)
        await strand
        assert not strand.cancel()
        assert strand.cancels == 0
        await turns()

    run(story())


@any_mode
@pytest.mark.parametrize("way", WAITS)
def test_cancelled_twice_in_a_turn_it_is_told_once(way, mode):
    async def story() -> None:
        waiter = Waiter(way, ends_when_cancelled=False, count=2)
        strand = begun(waiter.body, mode=mode)
        if way == "task":
            await turns(2)
        strand.cancel()
        strand.cancel()
        await asyncio.sleep(0.002)
        if way == "turn":
            await strand
            assert waiter.steps == ["waits", "cancelled", "waits", "woken"]
            return
        assert waiter.steps[:3] == ["waits", "cancelled", "waits"]
        assert waiter.steps[3:] in ([], ["cancelled"]), waiter.steps
        strand.cancel()
        await strand
        assert waiter.steps.count("woken") == 0

    run(story())


@any_mode
def test_two_cancels_of_a_pause_in_a_turn_are_one_error(mode):
    async def story() -> None:
        waiter = Waiter("pause", ends_when_cancelled=False, count=2)
        strand = begun(waiter.body, mode=mode)
        strand.cancel()
        strand.cancel()
        await turns()
        assert waiter.steps == ["waits", "cancelled", "waits"]
        waiter.wake()
        assert waiter.steps == ["waits", "cancelled", "waits", "woken"]
        assert strand.done()

    run(story())


@any_mode
@pytest.mark.parametrize("way", ["pause", "future", "news", "task"])
def test_a_cancel_that_is_swallowed_is_over(way, mode):
    async def story() -> None:
        waiter = Waiter(way, ends_when_cancelled=False, count=3)
        strand = begun(waiter.body, mode=mode)
        for count in (1, 2):
            await turns()
            strand.cancel()
            await turns()
            assert waiter.steps == ["waits", "cancelled"] * count + ["waits"]
        waiter.wake()
        await strand
        assert waiter.steps == ["waits", "cancelled"] * 2 + ["waits", "woken"]

    run(story())


@any_mode
@pytest.mark.parametrize("way", ["pause", "future", "news", "task"])
@pytest.mark.parametrize("is_woken_first", [True, False])
def test_woken_and_cancelled_in_one_turn_it_takes_no_step_too_many(way, is_woken_first, mode):
    async def story() -> None:
        waiter = Waiter(way, ends_when_cancelled=False, count=2)
        strand = begun(waiter.body, mode=mode)
        if way == "task":
            await turns(2)
        if is_woken_first:
            waiter.wake()
            strand.cancel()
        else:
            strand.cancel()
            waiter.wake()
        await turns()
        if is_woken_first and way == "pause":  # it had gone on before it was cancelled
            assert waiter.steps == ["waits", "woken", "waits", "cancelled"]
        else:
            assert waiter.steps == ["waits", "cancelled", "waits"]
            waiter.wake()
            await turns()
            assert waiter.steps == ["waits", "cancelled", "waits", "woken"]
        assert strand.done()

    run(story())


@any_mode
@pytest.mark.parametrize("way", ["pause", "future", "news"])
@pytest.mark.parametrize("is_woken_first", [True, False])
def test_woken_and_cancelled_in_one_turn_it_takes_no_step_after_its_end(way, is_woken_first, mode):
    async def story() -> None:
        waiter = Waiter(way)
        strand = begun(waiter.body, mode=mode)
        if is_woken_first:
            waiter.wake()
            strand.cancel()
        else:
            strand.cancel()
            waiter.wake()
        waiter.wake()
        await turns()
        over = "woken" if is_woken_first and way == "pause" else "cancelled"
        assert waiter.steps == ["waits", over]
        assert strand.done()

    run(story())


@pytest.mark.parametrize("then", ["future", "turn", "pause"])
def test_cancelled_again_after_a_wake_in_the_same_turn_it_takes_no_step_too_many(then):
    """Each cancel of a pause asks for a turn of the loop, which must not hit a later wait."""

    async def story() -> None:
        waiter = Waiter("pause", ends_when_cancelled=False)
        after = Waiter(then, ends_when_cancelled=False)
        last = Waiter("pause", ends_when_cancelled=False)

        async def body(strand: Strand) -> None:
            await waiter.body(strand)
            await after.body(strand)
            await last.body(strand)

        strand = begun(body)
        strand.cancel()
        waiter.wake()
        assert waiter.steps == ["waits", "cancelled"]
        assert after.steps == ["waits"]
        if then == "future":
            after.wake()  # done, so that it cannot be cancelled any more
        strand.cancel()
        await turns()
        assert after.steps == ["waits", "cancelled"]
        assert last.steps == ["waits"]
        last.wake()
        assert last.steps == ["waits", "woken"]
        assert strand.done()

    run(story())


@any_mode
@pytest.mark.parametrize("way", WAITS)
@pytest.mark.parametrize("is_early", [True, False])
def test_the_words_of_a_cancel_reach_the_one_who_is_cancelled(way, is_early, mode):
    async def story() -> None:
        words: list[Any] = []
        waiter = Waiter(way)

        async def body(strand: Strand) -> None:
            if is_early:
                strand.cancel("for a reason")
            try:
                await waiter.wait(strand)
            except asyncio.CancelledError as error:
                words.extend(error.args)
                raise

        strand = begun(body, mode=mode)
        if not is_early:
            strand.cancel("for a reason")
        await strand
        assert words == ["for a reason"]

    run(story())


# -- its end ---------------------------------------------------------------------------------------


def heard_by_the_loop() -> list[dict[str, Any]]:
    """Give what the loop is told of from now on."""
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    return heard


@any_mode
@pytest.mark.parametrize("waits", [True, False])
def test_an_exception_that_it_lets_through_is_reported_to_the_loop(mode, waits):
    async def story() -> None:
        heard = heard_by_the_loop()
        error = LookupError("on purpose")

        async def body(_: Strand) -> None:
            if waits:
                await asyncio.sleep(0)
            raise error

        strand = begun(body, mode=mode)
        await strand
        assert strand.done()
        assert [context["exception"] for context in heard] == [error]
        assert "line" in heard[0]["message"]

    run(story())


@any_mode
def test_to_be_cancelled_is_not_reported(mode):
    async def story() -> None:
        heard = heard_by_the_loop()
        waiter = Waiter("future")
        strand = begun(waiter.body, mode=mode)
        strand.cancel()
        await strand
        assert heard == []

    run(story())


@any_mode
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_is_to_end_the_process_goes_through(kind, mode):
    async def story() -> None:
        here = asyncio.current_task()

        async def body(_: Strand) -> None:
            raise kind

        strand = Strand(asyncio.get_running_loop())
        with pytest.raises(kind):
            strand.begin(body(strand), **MODES[mode])
        assert strand.done()
        assert asyncio.current_task() is here

    run(story())


# -- waiting for its end ---------------------------------------------------------------------------


@any_mode
def test_tasks_and_strands_can_wait_for_its_end(mode):
    async def story() -> None:
        waiter = Waiter("pause")
        strand = begun(waiter.body, mode=mode)
        ends: list[str] = []

        async def joins(name: str) -> None:
            await strand
            ends.append(name)

        async def body(_: Strand) -> None:
            await joins("strand")

        strands = [begun(body), begun(body, mode="bare")]
        task = asyncio.ensure_future(joins("task"))
        await turns()
        assert ends == []
        waiter.wake()
        await asyncio.gather(task, *strands)
        assert sorted(ends) == ["strand", "strand", "task"]
        await strand  # again, and at once
        await asyncio.wait_for(strand, 1)

    run(story())


@any_mode
@pytest.mark.parametrize("joiner", ["task", "strand"])
def test_to_give_up_waiting_for_it_does_not_cancel_it(mode, joiner):
    async def story() -> None:
        waiter = Waiter("pause")
        strand = begun(waiter.body, mode=mode)
        ends: list[str] = []

        async def joins(_: object) -> None:
            try:
                await strand
            except asyncio.CancelledError:
                ends.append("gave up")

        joining: Any = begun(joins) if joiner == "strand" else asyncio.ensure_future(joins(None))
        other = asyncio.ensure_future(joins(None))
        await turns()
        joining.cancel()
        await joining
        assert ends == ["gave up"]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(strand, 0.002)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.002):
                await strand
        assert waiter.steps == ["waits"]
        assert strand.cancels == 0
        waiter.wake()
        await other
        assert waiter.steps == ["waits", "woken"]
        assert ends == ["gave up"]

    run(story())


def test_an_end_that_comes_when_waiting_for_it_is_given_up_hurts_nobody():
    async def story() -> None:
        waiter = Waiter("pause")
        strand = begun(waiter.body)

        async def joins() -> None:
            await strand

        joining = asyncio.ensure_future(joins())
        await turns()
        joining.cancel()
        waiter.wake()  # in the same turn
        with pytest.raises(asyncio.CancelledError):
            await joining
        assert strand.done()

    run(story())


# -- contexts --------------------------------------------------------------------------------------


with_a_context = pytest.mark.parametrize("mode", ["context", "task"])


@with_a_context
def test_each_has_context_variables_of_its_own_that_stay(mode):
    async def story() -> None:
        bell = Waits()
        seen: list[tuple[str, list[str]]] = []

        async def body(strand: Strand) -> None:
            mine = f"{id(strand)}"
            words = [word.get()]
            word.set(mine)
            words.append(word.get())
            await asyncio.sleep(0)
            words.append(word.get())
            await asyncio.sleep(0.001)
            words.append(word.get())
            await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.001))
            words.append(word.get())
            await rung(bell, strand)
            words.append(word.get())
            seen.append((mine, words))

        word.set("outer")
        strands = [begun(body, mode=mode), begun(body, mode=mode)]
        assert word.get() == "outer"
        for strand in strands:
            await until_it_pauses(strand)
        # The bell has one waiter: the second to come. The first is woken by hand.
        for strand in strands:
            strand.wake()
        await asyncio.gather(*strands)
        assert word.get() == "outer"
        assert len({mine for mine, _ in seen}) == 2
        for mine, words in seen:
            assert words == ["outer", *[mine] * 5]

    run(story())


async def until_it_pauses(strand: Strand) -> None:
    while strand.waits_for is not PAUSE:
        await asyncio.sleep(0.001)


@with_a_context
def test_its_variables_are_there_whoever_wakes_it_and_do_not_leak_to_them(mode):
    async def story() -> None:
        bell = Waits()
        seen: list[str] = []

        async def sleeper(strand: Strand) -> None:
            word.set("sleeper's")
            await rung(bell, strand)
            seen.append(word.get())
            word.set("sleeper's last")

        async def ringer(strand: Strand) -> None:
            word.set("ringer's")
            bell.wake()
            seen.append(word.get())

        begun(sleeper, mode=mode)
        begun(ringer, mode=mode)
        assert seen == ["sleeper's", "ringer's"]
        assert word.get() == "none"

    run(story())


@with_a_context
def test_one_that_another_starts_inherits_its_variables(mode):
    async def story() -> None:
        seen: list[str] = []

        async def inner(_: Strand) -> None:
            seen.append(word.get())
            word.set("inner")

        async def outer(_: Strand) -> None:
            word.set("outer")
            await begun(inner, mode=mode)
            seen.append(word.get())

        await begun(outer, mode=mode)
        assert seen == ["outer", "outer"]

    run(story())


@with_a_context
def test_tasks_that_it_starts_inherit_its_variables(mode):
    async def body() -> str:
        async def inner() -> str:
            await asyncio.sleep(0)
            return word.get()

        word.set("the strand's")
        return await asyncio.ensure_future(inner())

    assert had(body, mode=mode) == "the strand's"


def test_without_a_context_it_steps_in_that_of_whoever_wakes_it():
    async def story() -> None:
        bell = Waits()
        seen: list[str] = []

        async def body(strand: Strand) -> None:
            seen.append(word.get())
            await rung(bell, strand)
            seen.append(word.get())

        word.set("first")
        begun(body, mode="bare")
        word.set("second")
        bell.wake()
        assert seen == ["first", "second"]

    run(story())


# -- work apart ------------------------------------------------------------------------------------


def apart(work: Callable[[], Coroutine[Any, Any, Any]], mode: str) -> Any:
    """Have a strand await that work apart, and give what came of it."""

    async def story() -> Any:
        found: list[Any] = []

        async def body(strand: Strand) -> None:
            try:
                found.append(await strand.apart(work()))
            except Exception as error:
                found.append(error)

        await begun(body, mode=mode)
        return found[0]

    return run(story())


@any_mode
def test_work_apart_may_ask_for_the_current_task_in_any_strand(mode):
    async def work() -> str:
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.002)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.002):
                await asyncio.Event().wait()
        assert asyncio.current_task() is task
        assert task.cancelling() == 0
        return "timeout"

    assert apart(work, mode) == "timeout"


@any_mode
def test_an_error_of_work_apart_is_raised_where_it_is_awaited(mode):
    async def work() -> None:
        await asyncio.sleep(0)
        raise LookupError("on purpose")

    assert isinstance(apart(work, mode), LookupError)


def test_work_apart_is_the_strands_own_where_that_is_a_task():
    async def story() -> None:
        tasks: list[object] = []

        async def work() -> None:
            tasks.append(asyncio.current_task())

        async def body(strand: Strand) -> None:
            tasks.append(asyncio.current_task())
            await strand.apart(work())

        await begun(body)
        assert tasks[0] is tasks[1] is not None

    run(story())


@with_a_context
def test_work_apart_has_the_strands_context_variables(mode):
    async def story() -> None:
        seen: list[str] = []

        async def work() -> None:
            seen.append(word.get())

        async def body(strand: Strand) -> None:
            word.set("the strand's")
            await strand.apart(work())

        await begun(body, mode=mode)
        assert seen == ["the strand's"]

    run(story())


@any_mode
def test_to_cancel_it_cancels_its_work_apart(mode):
    async def story() -> None:
        ends: list[str] = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ends.append("work")

        async def body(strand: Strand) -> None:
            try:
                await strand.apart(work())
            finally:
                ends.append("strand")

        strand = begun(body, mode=mode)
        await turns()
        strand.cancel()
        await strand
        assert ends == ["work", "strand"]

    run(story())
