"""The endpoints over a real socket, with a real store behind them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from plugins.logs import api
from plugins.logs.reader import Reader
from plugins.logs.records import LogRow
from plugins.logs.sqlite import SqliteStore
from tests.plugins.logs.made import body, id_of, made

PATIENCE_S = 10.0
TEAMS = [made(n, team="ab"[n % 2], status=200 + n, cost_nanousd=n * 10**6) for n in range(1, 8)]


class Served:
    """The endpoints on a port, and who asks them."""

    def __init__(self, store: SqliteStore, session: aiohttp.ClientSession) -> None:
        self.store = store
        self.session = session
        self.is_draining = False

    async def ask(
        self, path: str = "", method: str = "GET", **options: Any
    ) -> tuple[int, dict[str, Any]]:
        async with self.session.request(method, f"/api/logs{path}", **options) as answer:
            return answer.status, orjson.loads(await answer.read())


@asynccontextmanager
async def serving(path: Path, rows: Sequence[LogRow], **options: float) -> AsyncIterator[Served]:
    store = SqliteStore(path)
    await store.open()
    await store.add(rows)
    reader = Reader(SqliteStore(path))
    reader.start()
    app = web.Application()
    runner = web.AppRunner(app)
    try:
        async with asyncio.timeout(PATIENCE_S):
            served: Served
            for endpoint in api.endpoints(reader, lambda: served.is_draining, **options):
                app.router.add_route(endpoint.method, endpoint.path, endpoint.handler)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            async with aiohttp.ClientSession(f"http://127.0.0.1:{site.port}") as session:
                served = Served(store, session)
                yield served
    finally:
        await runner.cleanup()
        reader.stop()
        await store.close()


def asked(
    folder: Path,
    work: Callable[[Served], Awaitable[Any]],
    rows: Sequence[LogRow],
    **options: float,
) -> Any:
    async def run() -> Any:
        async with serving(folder / "logs.db", rows, **options) as served:
            return await work(served)

    return asyncio.run(run())


def ids(found: dict[str, Any]) -> list[str]:
    return [row["id"] for row in found["rows"]]


def test_rows_are_found_by_what_is_asked_and_page_by_page(tmp_path):
    async def work(served: Served) -> None:
        assert ids((await served.ask())[1]) == [id_of(n) for n in range(7, 0, -1)]
        assert ids((await served.ask("?team=b&max_status=205"))[1]) == [id_of(n) for n in (5, 3, 1)]
        assert ids((await served.ask("?min_cost=0.006"))[1]) == [id_of(7), id_of(6)]
        _, first = await served.ask("?team=b&limit=2")
        assert (ids(first), first["next"]) == ([id_of(7), id_of(5)], id_of(5))
        _, second = await served.ask(f"?team=b&limit=2&cursor={first['next']}")
        assert (ids(second), second["next"]) == ([id_of(3), id_of(1)], None)
        _, up = await served.ask(f"?order=oldest&limit=2&cursor={id_of(5)}")
        assert (ids(up), up["next"]) == ([id_of(6), id_of(7)], None)

    asked(tmp_path, work, TEAMS)


def test_a_list_has_no_bodies_and_a_row_has(tmp_path):
    row = made(1, request=body(b'{"a":1}'), response=body(b"<b>hi</b>", "text/html"))

    async def work(served: Served) -> None:
        _, found = await served.ask("?search=hi")
        assert "text" not in found["rows"][0]["request"]
        assert found["rows"][0]["response"]["bytes"] == 9
        status, found = await served.ask(f"/{id_of(1)}")
        assert (status, found["request"]["text"], found["response"]["text"]) == (
            200,
            '{"a":1}',
            "<b>hi</b>",
        )

    asked(tmp_path, work, [row])


AS_THEY_ARE = [
    (body(b'{"a":1}'), "application/json", None),
    (body(b"<script>x</script>", "text/html"), "text/plain; charset=utf-8", None),
    (body(b"data: x\n\n", "text/event-stream"), "text/plain; charset=utf-8", None),
    (body(b'{"a":', is_cut=True), "text/plain; charset=utf-8", "5 of 105 bytes"),
    (body(b"\x89PNG\xff", "image/png"), "application/octet-stream", None),
    (body(b"<svg/>", "image/svg+xml"), "text/plain; charset=utf-8", None),
    (body(b"", ""), "text/plain; charset=utf-8", None),
]


@pytest.mark.parametrize("side", ["request", "response"])
def test_a_body_itself_is_nothing_that_a_browser_would_run(tmp_path, side):
    async def work(served: Served) -> None:
        for number, (kept, kind, cut) in enumerate(AS_THEY_ARE):
            async with served.session.get(f"/api/logs/{id_of(number)}/{side}") as answer:
                fields = answer.headers
                assert (answer.status, await answer.read()) == (200, kept.data)
                assert (fields["Content-Type"], fields.get("weir-cut")) == (kind, cut)
                assert fields["X-Content-Type-Options"] == "nosniff"
                assert "sandbox" in fields["Content-Security-Policy"]

    rows = [made(n, request=kept, response=kept) for n, (kept, *_) in enumerate(AS_THEY_ARE)]
    asked(tmp_path, work, rows)


def test_a_change_is_made_and_shown(tmp_path):
    async def work(served: Served) -> None:
        path = f"/{id_of(1)}"
        status, found = await served.ask(path, "PATCH", data=b'{"feedback": -1, "score": 0.5}')
        assert (status, found["feedback"], found["score"]) == (200, -1, 0.5)
        await served.ask(path, "PATCH", data=b'{"feedback": null, "metadata": {"n": 1}}')
        _, found = await served.ask(path)
        assert (found["feedback"], found["score"], found["metadata"]) == (None, 0.5, {"n": 1})
        assert ids((await served.ask("?metadata.n=1"))[1]) == [id_of(1)]

    asked(tmp_path, work, [made(1), made(2)])


def test_a_malformed_change_is_refused_by_the_fields_name(tmp_path):
    async def work(served: Served) -> None:
        status, found = await served.ask(f"/{id_of(1)}", "PATCH", data=b'{"feedback": 5}')
        assert (status, found["error"]) == (400, "feedback: wanted 1, -1 or null")

    asked(tmp_path, work, [made(1)])


def test_what_is_not_there_is_not_found(tmp_path):
    async def work(served: Served) -> None:
        for id_, (method, path, sent) in itertools.product(
            (id_of(9), "9", "..%2f..", "%00"),
            (
                ("GET", "", None),
                ("PATCH", "", b'{"feedback": 1}'),
                ("DELETE", "", None),
                ("GET", "/request", None),
            ),
        ):
            status, found = await served.ask(f"/{id_}{path}", method, data=sent)
            assert (status, "error" in found) == (404, True)
        assert len((await served.ask())[1]["rows"]) == 1

    asked(tmp_path, work, [made(1)])


def test_a_body_that_was_not_kept_is_not_found(tmp_path):
    async def work(served: Served) -> None:
        status, found = await served.ask(f"/{id_of(1)}/response")
        assert (status, "payload" in found["error"]) == (404, True)

    asked(tmp_path, work, [made(1)])


REFUSED = [
    ("?modle=x", "GET", "modle"),
    ("?limit=many", "GET", "limit"),
    ("?search=%20", "GET", "search"),
    ("?search=!!", "GET", "search"),
    ("/export?limit=5", "GET", "limit"),
    ("/export?format=xml", "GET", "format: wanted jsonl or csv, given 'xml'"),
    ("/export?format=csv&format=csv", "GET", "format: given twice"),
    ("/export?bodies=1", "GET", "bodies: wanted true or false"),
    ("/tail?since=1d", "GET", "since"),
    ("/tail?search=!!", "GET", "search"),
    ("?team=a&limit=1", "DELETE", "limit"),
    ("", "DELETE", "wanted a filter, or all=true"),
    ("?all=false", "DELETE", "wanted a filter, or all=true"),
    ("?all=yes", "DELETE", "all: wanted true or false"),
    ("?all=true&team=a", "DELETE", "wanted a filter, or all=true"),
]


def test_what_cannot_be_asked_is_refused_by_its_name(tmp_path):
    async def work(served: Served) -> None:
        for path, method, told in REFUSED:
            status, found = await served.ask(path, method)
            assert (status, path, found["error"][: len(told)]) == (400, path, told)
        assert len((await served.ask())[1]["rows"]) == 7

    asked(tmp_path, work, TEAMS)


def test_rows_are_deleted_by_a_filter_by_their_id_or_all(tmp_path):
    async def work(served: Served) -> None:
        assert await served.ask("?team=b&max_status=205", "DELETE") == (200, {"deleted": 3})
        assert ids((await served.ask())[1]) == [id_of(n) for n in (7, 6, 4, 2)]
        assert await served.ask(f"/{id_of(4)}", "DELETE") == (200, {"deleted": 1})
        assert ids((await served.ask())[1]) == [id_of(n) for n in (7, 6, 2)]
        assert await served.ask("?team=zz", "DELETE") == (200, {"deleted": 0})
        assert await served.ask("?all=true", "DELETE") == (200, {"deleted": 3})
        assert (await served.ask())[1] == {"rows": [], "next": None}

    asked(tmp_path, work, TEAMS)


async def exported(served: Served, query: str) -> tuple[str, list[str]]:
    async with served.session.get(f"/api/logs/export{query}") as answer:
        assert answer.status == 200
        assert "attachment" in answer.headers["Content-Disposition"]
        return answer.headers["Content-Type"], (await answer.text()).splitlines()


def test_an_export_is_lines_of_json_or_csv_oldest_first(tmp_path):
    rows = [made(n, request=body(b'{"n":%d}' % n), team="ab"[n % 2]) for n in range(1, 6)]

    async def work(served: Served) -> None:
        kind, lines = await exported(served, "?team=b")
        found = [orjson.loads(line) for line in lines]
        assert kind == "application/jsonl; charset=utf-8"
        assert [row["id"] for row in found] == [id_of(1), id_of(3), id_of(5)]
        assert "text" not in found[0]["request"]
        _, lines = await exported(served, "?bodies=true&order=newest")
        assert orjson.loads(lines[0])["request"]["text"] == '{"n":5}'
        kind, lines = await exported(served, "?format=csv&bodies=true")
        assert kind == "text/csv; charset=utf-8"
        assert (lines[0][:14], len(lines)) == ("id,started_at,", 6)
        assert lines[1].endswith('"{""n"":1}",')

    asked(tmp_path, work, rows)


class Events:
    """The events of a tail, one by one."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def next(self) -> tuple[int, dict[str, Any]] | None:
        """Give an event's id and row; None at the end."""
        text = b""
        while not text.endswith(b"\n\n"):
            line = await self.answer.content.readline()
            if not line:
                assert text == b""
                return None
            text += line
        first, second = text.strip().split(b"\n")
        assert first.startswith(b"id: ")
        return int(first[4:]), orjson.loads(second.removeprefix(b"data: "))


@asynccontextmanager
async def tail(served: Served, query: str = "", **fields: str) -> AsyncIterator[Events]:
    async with served.session.get(f"/api/logs/tail{query}", headers=fields) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        yield Events(answer)


async def row_of(events: Events) -> tuple[int, str]:
    event = await events.next()
    assert event is not None
    return event[0], event[1]["id"]


def test_a_tail_gives_what_comes_from_now_on_and_goes_on_where_one_was(tmp_path):
    async def work(served: Served) -> None:
        async with tail(served, "?team=b") as events:
            await served.store.add([made(8, team="a"), made(9, team="b"), made(10, team="b")])
            seen, id_ = await row_of(events)
            assert id_ == id_of(9)
        async with tail(served, "?team=b", **{"Last-Event-ID": str(seen)}) as events:
            assert (await row_of(events))[1] == id_of(10)

    asked(tmp_path, work, TEAMS)


def test_a_tail_ends_when_the_gateway_drains(tmp_path):
    async def work(served: Served) -> None:
        async with tail(served) as events:
            served.is_draining = True
            assert await events.next() is None

    asked(tmp_path, work, [])


def test_only_so_many_follow_and_who_leaves_makes_room(tmp_path):
    async def work(served: Served) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(api.TAILS_MAX):
                await stack.enter_async_context(tail(served))
            status, found = await served.ask("/tail")
            assert (status, "follow the logs already" in found["error"]) == (429, True)
        status = 429
        while status == 429:
            async with served.session.get("/api/logs/tail") as answer:
                status = answer.status
        assert status == 200

    asked(tmp_path, work, [])


LARGE = [made(n)._replace(request=body(b"x" * 60_000, "text/plain")) for n in range(300)]


def test_an_export_that_nobody_reads_breaks_off(tmp_path, caplog):
    async def work(served: Served) -> None:
        async with served.session.get("/api/logs/export?bodies=true") as answer:
            await asyncio.sleep(0.5)
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()

    asked(tmp_path, work, LARGE, write_s=0.1)
    assert caplog.text == ""


def test_where_one_was_is_a_number(tmp_path):
    async def work(served: Served) -> None:
        for seen in ("-1", "x", "9" * 30):
            status, found = await served.ask("/tail", headers={"Last-Event-ID": seen})
            assert (status, found["error"][:21]) == (400, "Last-Event-ID: wanted")

    asked(tmp_path, work, [])


def test_a_store_that_is_away_is_said_in_every_answer(tmp_path):
    async def work(served: Served) -> None:
        for path in tmp_path.glob("logs.db*"):
            path.rename(tmp_path / f"away-{path.name}")
        (tmp_path / "logs.db").mkdir()
        for method, path, sent in (
            ("GET", "", None),
            ("GET", f"/{id_of(1)}", None),
            ("GET", "/export", None),
            ("GET", "/tail", None),
            ("PATCH", f"/{id_of(1)}", b'{"feedback": 1}'),
            ("DELETE", "?all=true", None),
        ):
            status, found = await served.ask(path, method, data=sent)
            assert (status, "sqlite" in found["error"]) == (503, True), (method, path)

    asked(tmp_path, work, TEAMS)
