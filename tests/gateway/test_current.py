"""A strand as the current task: what timeouts, task groups and HTTP clients find there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, cast

import aiohttp
import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest
from aiohttp import web

from gateway.current import Current
from gateway.strand import PAUSE, Strand, Waits
from tests.gateway.ends import PATIENCE_S, Listening, run

LONG_S = 2 * PATIENCE_S


def begun(body: Coroutine[Any, Any, None], *, as_task: bool = True) -> Strand:
    strand = Strand(asyncio.get_running_loop())
    strand.begin(body, as_task=as_task)
    return strand


def had(body: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a strand as a task and give what its coroutine came to; what it raised is raised.

    To be cancelled by nobody but itself leaves no trace on it.
    """

    async def story() -> Any:
        found: list[Any] = []

        async def whole() -> None:
            try:
                found.append(await body())
            except BaseException as error:
                found.append(error)
            assert now().cancelling() == 0

        await begun(whole())
        (one,) = found
        if isinstance(one, BaseException):
            raise one
        return one

    return run(story())


def now() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


# -- who is current --------------------------------------------------------------------------------


def test_the_code_in_it_finds_one_current_task_all_along():
    async def body() -> list[object]:
        first = now()
        seen = [first is now()]
        await asyncio.sleep(0)
        seen.append(first is now())
        await asyncio.sleep(0.001)
        seen.append(first is now())
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))
        seen.append(first is now())
        return [type(first), seen]

    assert had(body) == [Current, [True] * 4]


def test_it_takes_nobodys_place_beyond_its_steps():
    async def story() -> None:
        here = now()
        bell = Waits()
        seen: list[object] = []

        async def body() -> None:
            bell.waiter = strand
            seen.append(now())
            await PAUSE
            seen.append(now())

        strand = Strand(asyncio.get_running_loop())
        strand.begin(body(), as_task=True)
        assert now() is here
        bell.wake()
        assert now() is here
        assert seen[0] is seen[1] is not here

    run(story())


def test_woken_by_the_loop_it_leaves_no_current_task_behind():
    async def story() -> None:
        loop = asyncio.get_running_loop()
        bell = Waits()
        seen: list[object] = []

        async def body() -> None:
            bell.waiter = strand
            await PAUSE
            seen.append(type(now()))

        def wakes() -> None:
            seen.append(asyncio.current_task())
            bell.wake()
            seen.append(asyncio.current_task())

        strand = Strand(loop)
        strand.begin(body(), as_task=True)
        loop.call_soon(wakes)
        await strand
        assert seen == [None, Current, None]

    run(story())


def test_one_that_begins_inside_another_gives_its_place_back():
    async def story() -> None:
        here = now()
        seen: list[object] = []

        async def inner() -> None:
            seen.append(now())
            await asyncio.sleep(0)
            seen.append(now())

        async def outer() -> None:
            mine = now()
            strand = begun(inner())
            assert now() is mine
            await strand
            assert now() is mine
            begun(fails())
            assert now() is mine
            seen.append(mine)

        async def fails() -> None:
            raise LookupError("on purpose")

        heard: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
        await begun(outer())
        assert now() is here
        first, second, mine = seen
        assert first is second
        assert mine is not first
        assert here not in seen
        assert len(heard) == 1

    run(story())


def test_one_that_wakes_another_gets_its_place_back():
    async def story() -> None:
        bell = Waits()
        seen: list[object] = []

        async def sleeper() -> None:
            bell.waiter = strand
            await PAUSE
            seen.append(now())

        async def ringer() -> None:
            mine = now()
            bell.wake()
            assert now() is mine
            seen.append(mine)

        strand = Strand(asyncio.get_running_loop())
        strand.begin(sleeper(), as_task=True)
        begun(ringer())
        assert len(seen) == 2
        assert seen[0] is not seen[1]

    run(story())


@pytest.mark.parametrize("in_context", [True, False])
def test_one_that_is_no_task_leaves_the_current_task_alone(in_context):
    async def story() -> None:
        loop = asyncio.get_running_loop()
        here = now()
        bell = Waits()
        seen: list[object] = []

        async def body() -> None:
            seen.append(asyncio.current_task())
            bell.waiter = strand
            await PAUSE
            seen.append(asyncio.current_task())
            await asyncio.sleep(0)
            seen.append(asyncio.current_task())

        strand = Strand(loop)
        strand.begin(body(), in_context=in_context, as_task=False)
        assert now() is here
        assert not strand.runs
        loop.call_soon(lambda: seen.append(strand.runs))
        loop.call_soon(bell.wake)
        await strand
        assert seen == [here, False, None, None]

    run(story())


def test_it_knows_whether_the_one_who_asks_runs_in_it():
    async def story() -> None:
        seen: list[bool] = []

        async def inner() -> None:
            seen.append(outer.runs)

        async def helper() -> None:
            seen.append(outer.runs)

        async def body() -> None:
            seen.append(outer.runs)
            begun(inner())
            begun(inner(), as_task=False)  # what it calls is its own code still
            seen.append(outer.runs)
            await asyncio.ensure_future(helper())
            seen.append(outer.runs)

        outer = Strand(asyncio.get_running_loop())
        outer.begin(body(), as_task=True)
        assert not outer.runs
        await outer
        assert not outer.runs
        assert seen == [True, True, True, True, False, True]

    run(story())


def test_tasks_that_it_starts_are_themselves_and_not_it():
    async def body() -> bool:
        async def inner() -> object:
            return now()

        task = asyncio.ensure_future(inner())
        return await task is task

    assert had(body)


# -- what it is asked ------------------------------------------------------------------------------


def test_it_can_be_referred_to_weakly_and_goes_with_its_strand():
    async def story() -> None:
        kept: weakref.WeakKeyDictionary[object, str] = weakref.WeakKeyDictionary()
        references: list[weakref.ref[Any]] = []

        async def body() -> None:
            references.append(weakref.ref(now()))
            kept[now()] = "one"
            await asyncio.sleep(0)
            assert references[0]() is now()
            assert kept[now()] == "one"

        strand = begun(body())
        assert len(kept) == 1
        await strand
        assert references[0]() is None
        assert len(kept) == 0

    run(story())


def test_it_answers_as_a_task_does():
    async def story() -> None:
        tasks: list[Any] = []

        async def body() -> None:
            tasks.append(now())
            await asyncio.sleep(0)

        coroutine = body()
        strand = begun(coroutine)
        other = begun(body())
        task, another = tasks
        assert task.get_coro() is coroutine
        assert task.get_loop() is asyncio.get_running_loop()
        assert not task.done()
        assert isinstance(task.get_name(), str)
        assert task.get_name() != another.get_name()
        assert task == task  # noqa: PLR0124  # it stands in sets and dictionaries
        assert len({task, another, task}) == 2
        await asyncio.gather(strand, other)
        assert task.done()
        assert task.get_coro() is None
        assert not task.cancel()

    run(story())


def test_it_counts_its_cancels_and_takes_them_back():
    async def body() -> list[int]:
        task = now()
        counts = [task.cancelling()]
        assert task.cancel()
        assert task.cancel()
        counts.append(task.cancelling())
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(LONG_S)
        counts.append(task.cancelling())
        counts.append(task.uncancel())
        counts.append(task.uncancel())
        counts.append(task.uncancel())  # there is nothing left to take back
        await asyncio.sleep(0)
        return counts

    assert had(body) == [0, 2, 2, 1, 0, 0]


def test_what_it_waits_for_shows():
    async def story() -> None:
        tasks: list[Any] = []
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        async def body() -> None:
            tasks.append(now())
            assert not tasks[0]._must_cancel
            assert tasks[0]._fut_waiter is None
            await future
            tasks[0].cancel()
            assert tasks[0]._must_cancel
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
            assert not tasks[0]._must_cancel

        strand = begun(body())
        assert tasks[0]._fut_waiter is future
        assert not tasks[0]._must_cancel
        future.set_result(None)
        await strand

    run(story())


def test_a_cancel_that_its_future_has_taken_is_not_due_any_more():
    async def story() -> None:
        tasks: list[Any] = []

        async def body() -> None:
            tasks.append(now())
            await asyncio.get_running_loop().create_future()

        strand = begun(body())
        tasks[0].cancel()
        assert tasks[0]._fut_waiter.cancelled()
        assert not tasks[0]._must_cancel
        await strand

    run(story())


def test_others_cancel_it_through_what_they_found():
    async def story() -> None:
        tasks: list[asyncio.Task[Any]] = []
        ends: list[str] = []

        async def body() -> None:
            tasks.append(now())
            try:
                await asyncio.sleep(LONG_S)
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

        strand = begun(body())
        assert tasks[0].cancel()
        assert ends == []
        await strand
        assert ends == ["cancelled"]

    run(story())


def test_a_record_of_the_log_can_be_made_in_it(caplog):
    async def body() -> None:
        logging.getLogger("a.plugin").warning("said in a hook")

    had(body)
    assert "said in a hook" in caplog.text


# -- asyncio's own ---------------------------------------------------------------------------------


def test_a_timeout_that_is_kept_does_nothing():
    async def body() -> str:
        async with asyncio.timeout(LONG_S) as bound:
            await asyncio.sleep(0.001)
        assert not bound.expired()
        return await asyncio.wait_for(asyncio.sleep(0.001, "in time"), LONG_S)

    assert had(body) == "in time"


def test_a_timeout_that_passes_ends_what_is_in_it_and_nothing_else():
    async def body() -> list[str]:
        ends = []
        for _ in range(2):
            try:
                async with asyncio.timeout(0.002):
                    await asyncio.sleep(LONG_S)
            except TimeoutError:
                ends.append("timeout")
            try:
                await asyncio.wait_for(asyncio.sleep(LONG_S), 0.002)
            except TimeoutError:
                ends.append("wait_for")
        await asyncio.sleep(0.001)
        return ends

    assert had(body) == ["timeout", "wait_for"] * 2


def test_a_timeout_passes_while_it_only_turns_with_the_loop():
    async def body() -> str:
        try:
            async with asyncio.timeout(0.002):
                while True:
                    await asyncio.sleep(0)
        except TimeoutError:
            return "over"

    assert had(body) == "over"


def test_a_timeout_inside_a_timeout_ends_its_own_part():
    async def body() -> list[str]:
        ends = []
        try:
            async with asyncio.timeout(0.006):
                try:
                    async with asyncio.timeout(0.002):
                        await asyncio.sleep(LONG_S)
                except TimeoutError:
                    ends.append("inner")
                await asyncio.sleep(LONG_S)
        except TimeoutError:
            ends.append("outer")
        return ends

    assert had(body) == ["inner", "outer"]


def test_a_cancel_from_outside_goes_through_a_timeout():
    async def story() -> None:
        ends: list[str] = []

        async def body() -> None:
            try:
                async with asyncio.timeout(LONG_S):
                    await asyncio.sleep(LONG_S)
            except TimeoutError:
                ends.append("timeout")
            except asyncio.CancelledError:
                ends.append(f"cancelled {now().cancelling()}")
                raise

        strand = begun(body())
        strand.cancel()
        await strand
        assert ends == ["cancelled 1"]

    run(story())


def test_a_task_group_waits_for_its_tasks():
    async def body() -> list[int]:
        async def one(value: int) -> int:
            await asyncio.sleep(0.001)
            return value

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(value)) for value in range(3)]
        return [task.result() for task in tasks]

    assert had(body) == [0, 1, 2]


@pytest.mark.parametrize("wait_s", [0, LONG_S])
def test_a_task_group_with_a_failure_ends_the_rest_and_says_so(wait_s):
    ends: list[str] = []
    tasks: list[asyncio.Task[None]] = []

    async def fails() -> None:
        await asyncio.sleep(0.001)
        raise LookupError("on purpose")

    async def waits() -> None:
        try:
            await asyncio.sleep(LONG_S)
        finally:
            ends.append("cancelled")

    async def body() -> str:
        try:
            async with asyncio.TaskGroup() as group:
                tasks.extend(group.create_task(work()) for work in (fails, waits))
                while wait_s == 0:
                    await asyncio.sleep(0)
                await asyncio.sleep(wait_s)
        except* LookupError as errors:
            ends.append(f"{len(errors.exceptions)} failed")
        await asyncio.sleep(0.001)
        return "went on"

    assert had(body) == "went on"
    assert ends == ["cancelled", "1 failed"]


def test_to_cancel_it_ends_the_task_group_in_it():
    async def story() -> None:
        ends: list[str] = []
        tasks: list[asyncio.Task[None]] = []

        async def waits() -> None:
            try:
                await asyncio.sleep(LONG_S)
            finally:
                ends.append("task")

        async def body() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    tasks.append(group.create_task(waits()))
            except asyncio.CancelledError:
                ends.append("group")
                raise

        strand = begun(body())
        await asyncio.sleep(0.001)
        strand.cancel()
        await strand
        assert ends == ["task", "group"]

    run(story())


def test_a_shield_keeps_what_is_in_it_when_it_is_cancelled():
    async def story() -> None:
        ends: list[str] = []

        async def work() -> None:
            await asyncio.sleep(0.003)
            ends.append("done")

        async def body() -> None:
            try:
                await asyncio.shield(working)
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

        working = asyncio.ensure_future(work())
        strand = begun(body())
        strand.cancel()
        await strand
        await working
        assert ends == ["cancelled", "done"]

    run(story())


# -- anyio -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["sleeps", "turns", "is cancelled at once", "waits for an event"])
def test_a_scope_that_moves_on_ends_what_is_in_it_and_nothing_else(way):
    async def body() -> list[object]:
        found: list[object] = []
        with anyio.move_on_after(0.002) as scope:
            if way == "sleeps":
                await anyio.sleep(LONG_S)
            elif way == "waits for an event":
                await anyio.Event().wait()
            elif way == "is cancelled at once":
                scope.cancel()
                await anyio.lowlevel.checkpoint()
            while True:
                await anyio.lowlevel.checkpoint()
        found.append(scope.cancelled_caught)
        with anyio.move_on_after(LONG_S) as scope:
            await anyio.sleep(0.001)
        found.append(scope.cancelled_caught)
        return found

    assert had(body) == [True, False]


def test_a_scope_inside_a_scope_ends_its_own_part():
    async def body() -> list[bool]:
        with anyio.move_on_after(0.006) as outer:
            with anyio.move_on_after(0.002) as inner:
                await anyio.sleep(LONG_S)
            await anyio.sleep(LONG_S)
        return [inner.cancelled_caught, outer.cancelled_caught]

    assert had(body) == [True, True]


def test_a_scope_that_fails_raises_its_timeout():
    async def body() -> None:
        with anyio.fail_after(0.002):
            await anyio.sleep(LONG_S)

    with pytest.raises(TimeoutError):
        had(body)


def test_a_cancel_from_outside_goes_through_a_scope():
    async def story() -> None:
        ends: list[str] = []

        async def body() -> None:
            with anyio.move_on_after(LONG_S):
                try:
                    await anyio.sleep(LONG_S)
                finally:
                    ends.append("left")
            ends.append("moved on")

        strand = begun(body())
        strand.cancel()
        await strand
        assert ends == ["left"]

    run(story())


def test_anyios_task_groups_locks_threads_and_facts_work_in_it():
    async def body() -> list[Any]:
        found: list[Any] = []
        lock = anyio.Lock()

        async def one(value: int) -> None:
            async with lock:
                await anyio.sleep(0.001)
                found.append(value)

        async with anyio.create_task_group() as group:
            for value in range(3):
                group.start_soon(one, value)
        async with lock:
            found.append(await anyio.to_thread.run_sync(len, "four"))
        found.append(anyio.get_current_task().name == now().get_name())
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, LONG_S)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        found.append("went on")
        return found

    assert had(body) == [0, 1, 2, 4, True, "went on"]


# -- HTTP clients ----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """Run a server that echoes; under /slow it does not answer in time."""

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def slow(request: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    over = asyncio.Event()
    app = web.Application()
    app.add_routes([web.post("/echo", echo), web.get("/slow", slow)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        over.set()
        await runner.cleanup()


def test_httpx_works_in_it():
    async def body() -> list[object]:
        async with serving() as url, httpx.AsyncClient(base_url=url, timeout=LONG_S) as client:
            one = await client.post("/echo", content=b"one")
            many = await asyncio.gather(
                *(client.post("/echo", content=b"%d" % number) for number in range(5))
            )
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/slow", timeout=0.02)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await client.get("/slow")
            with anyio.move_on_after(0.02) as scope:
                await client.get("/slow")
            last = await client.post("/echo", content=b"last")
            return [one.content, [each.content for each in many], scope.cancelled_caught, last.text]

    assert had(body) == [b"one", [b"0", b"1", b"2", b"3", b"4"], True, "last"]


def test_aiohttp_works_in_it():
    async def body() -> list[str]:
        async with serving() as url, aiohttp.ClientSession(url) as session:
            texts = []
            for text in ("one", "two"):
                async with session.post("/echo", data=text) as answer:
                    texts.append(await answer.text())
            with pytest.raises(TimeoutError):
                async with session.get("/slow", timeout=aiohttp.ClientTimeout(total=0.02)):
                    pass
            with pytest.raises(TimeoutError):
                async with session.get("/slow", timeout=aiohttp.ClientTimeout(sock_read=0.02)):
                    pass
            async with session.post("/echo", data="last") as answer:
                texts.append(await answer.text())
            return texts

    assert had(body) == ["one", "two", "last"]


@pytest.mark.parametrize("kind", ["httpx", "aiohttp"])
def test_to_cancel_it_ends_the_request_in_it(kind):
    async def story() -> None:
        listening = Listening()
        ends: list[str] = []

        async def asks() -> None:
            url = f"http://127.0.0.1:{listening.port}/"
            if kind == "httpx":
                async with httpx.AsyncClient(timeout=LONG_S) as client:
                    await client.get(url)
            else:
                async with aiohttp.ClientSession() as session, session.get(url):
                    pass

        async def body() -> None:
            try:
                await asks()
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

        strand = begun(body())
        there = await listening.accept()
        await there.head()
        cast("Any", strand).cancel()
        await strand
        assert ends == ["cancelled"]
        assert await there.ending() in ("fin", "reset")

    run(story())
