"""The endpoints under /api/logs on the operator's listener."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Final

import msgspec
import orjson
from aiohttp import web

from gateway import Endpoint, ErrorAnswer, StoreAway, StoreRefused, now_ms

from .changing import read_change
from .deleting import delete
from .described import DOCS
from .exporting import KINDS, document, pieces
from .query import FILTERS, ONCE, is_narrow, read, row_id
from .reader import Reader
from .records import Body, LogRow, Query
from .tailing import Seen, follow

# Who takes nothing of an answer for so long has left.
WRITE_S: Final = 30.0
# A line without meaning, so that nobody between takes the silence for an end.
KEEP_ALIVE_S: Final = 15.0
# Each of them asks the store twice a second.
TAILS_MAX: Final = 20
# A browser is to show what strangers wrote as text, and to run none of it.
_AS_IT_IS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Unknown(LookupError):
    """There is no such thing; the text says which."""


class TooMany(Exception):
    """No more of them at once; the text says how many there are."""


_STATUS: Final = {ValueError: 400, StoreRefused: 400, Unknown: 404, TooMany: 429, StoreAway: 503}


def endpoints(
    reader: Reader, is_draining: Callable[[], bool], *, write_s: float = WRITE_S
) -> list[Endpoint]:
    """What the plugin serves. is_draining: whether who follows has to leave."""
    api = Api(reader, is_draining, write_s)
    row = "/api/logs/{id}"
    served: list[tuple[str, str, Handler]] = [
        ("GET", "/api/logs", api.find),
        ("DELETE", "/api/logs", api.delete),
        ("GET", "/api/logs/export", api.export),
        ("GET", "/api/logs/tail", api.tail),
        ("GET", row, api.show),
        ("PATCH", row, api.change),
        ("DELETE", row, api.forget),
        ("GET", f"{row}/request", api.request),
        ("GET", f"{row}/response", api.response),
    ]
    return [
        Endpoint(method, path, _told(handler), doc=DOCS[method, path])
        for method, path, handler in served
    ]


class Api:
    """The handlers. They raise what `_STATUS` lists."""

    def __init__(self, reader: Reader, is_draining: Callable[[], bool], write_s: float) -> None:
        self._reader = reader
        self._is_draining = is_draining
        self._write_s = write_s
        self._tails = 0

    async def find(self, request: web.Request) -> web.Response:
        query = read(request.query.items(), now_ms(), names=ONCE)
        # One more than is shown says whether there are more.
        rows = await self._reader.find(msgspec.structs.replace(query, limit=query.limit + 1))
        shown = rows[: query.limit]
        cursor = shown[-1].document["id"] if len(rows) > query.limit else None
        return _json({"rows": [document(row) for row in shown], "next": cursor})

    async def show(self, request: web.Request) -> web.Response:
        return _json(document(await self._row(request)))

    async def request(self, request: web.Request) -> web.Response:
        return _body((await self._row(request)).request, "request")

    async def response(self, request: web.Request) -> web.Response:
        return _body((await self._row(request)).response, "response")

    async def change(self, request: web.Request) -> web.Response:
        change = read_change(await request.read())
        id_ = _id(request)
        row = await self._reader.change(id_, change)
        if row is None:
            raise _no_row(request)
        return _json(document(row))

    async def forget(self, request: web.Request) -> web.Response:
        deleted = await self._reader.delete(Query(id=_id(request)))
        if not deleted:
            raise _no_row(request)
        return _json({"deleted": deleted})

    async def delete(self, request: web.Request) -> web.Response:
        own, rest = _apart(request, "all")
        query = read(rest, now_ms(), names=FILTERS)
        everything = _switch(own, "all")
        if everything is is_narrow(query):
            raise ValueError("wanted a filter, or all=true to delete every row; not both")
        return _json({"deleted": await delete(self._reader, query)})

    async def export(self, request: web.Request) -> web.StreamResponse:
        own, rest = _apart(request, "format", "bodies")
        if all(name != "order" for name, _ in rest):
            rest.append(("order", "oldest"))
        bodies, format_ = _switch(own, "bodies"), own.get("format", "jsonl")
        if format_ not in KINDS:
            raise ValueError(f"format: wanted {' or '.join(KINDS)}, given {format_!r}")
        query = read(rest, now_ms(), names=(*FILTERS, "order"))
        query = msgspec.structs.replace(query, bodies=bodies)
        written = pieces(self._reader.stream(query), format_, bodies)
        first = await anext(written)  # a store that is away has a status still
        response = web.StreamResponse(
            headers={
                **_AS_IT_IS,
                "Content-Type": f"{KINDS[format_]}; charset=utf-8",
                "Content-Disposition": f'attachment; filename="logs.{format_}"',
            }
        )
        await response.prepare(request)
        with _aborted(request):
            await self._write(response, first)
            async for piece in written:
                await self._write(response, piece)
        return response

    async def tail(self, request: web.Request) -> web.StreamResponse:
        query = read(request.query.items(), now_ms(), names=("search",))
        seen = request.headers.get("Last-Event-ID", "")
        if seen and not (seen.isascii() and seen.isdecimal() and len(seen) < 19):
            raise ValueError(f"Last-Event-ID: wanted the id of an event, given {seen!r}")
        with self._one_more_tail():
            after = int(seen) if seen else await self._reader.newest()
            response = web.StreamResponse(
                headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
            )
            await response.prepare(request)
            looks = follow(self._reader, query, after)
            with _aborted(request):
                async with aclosing(looks):
                    await self._pass_on(looks, request, response)
            return response

    async def _pass_on(
        self, looks: AsyncIterator[Seen], request: web.Request, response: web.StreamResponse
    ) -> None:
        """Write rows as events, until the caller leaves or has to."""
        spoke = time.monotonic()
        async for rows, trouble in looks:
            if self._is_draining() or request.transport is None:
                return
            text = b"".join(map(_event, rows))
            if not text and time.monotonic() - spoke > KEEP_ALIVE_S:
                text = f": {trouble or 'nothing new'}\n\n".encode()
            if text:
                spoke = time.monotonic()
                await self._write(response, text)

    async def _write(self, response: web.StreamResponse, piece: bytes) -> None:
        """Hand a piece over. TimeoutError where the caller takes nothing."""
        if piece:
            async with asyncio.timeout(self._write_s):
                await response.write(piece)

    @contextmanager
    def _one_more_tail(self) -> Iterator[None]:
        if self._tails >= TAILS_MAX:
            raise TooMany(f"{TAILS_MAX} follow the logs already; try again when one has ended")
        self._tails += 1
        try:
            yield
        finally:
            self._tails -= 1

    async def _row(self, request: web.Request) -> LogRow:
        row = await self._reader.get(_id(request))
        if row is None:
            raise _no_row(request)
        return row


def _told(handler: Handler) -> Handler:
    """The same handler, its errors as answers."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except tuple(_STATUS) as error:
            status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
            return _json(ErrorAnswer(str(error)), status)

    return handle


def _json(value: Any, status: int = 200) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, content_type="application/json")


def _body(body: Body | None, side: str) -> web.Response:
    """A body itself, as nothing that a browser would run."""
    if body is None or body.data is None:
        raise Unknown(f"no {side} body is kept of this row; see `payload` in [plugins.logs]")
    headers = {**_AS_IT_IS, "Content-Type": "text/plain; charset=utf-8"}
    if body.is_cut:
        headers["weir-cut"] = f"{len(body.data)} of {body.size} bytes"
    elif body.type == "application/json":
        headers["Content-Type"] = body.type
    if body.shown()[1]:
        headers["Content-Type"] = "application/octet-stream"
        headers["Content-Disposition"] = f'attachment; filename="{side}"'
    return web.Response(body=body.data, headers=headers)


def _id(request: web.Request) -> bytes:
    found = row_id(request.match_info["id"])
    if found is None:
        raise Unknown(f"{request.match_info['id']!r} is no id of a row")
    return found


def _no_row(request: web.Request) -> Unknown:
    return Unknown(f"there is no row {request.match_info['id']}; it may have been deleted")


def _apart(request: web.Request, *names: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The parameters of these names, and the other ones."""
    own: dict[str, str] = {}
    rest: list[tuple[str, str]] = []
    for name, text in request.query.items():
        if name in own:
            raise ValueError(f"{name}: given twice")
        if name in names:
            own[name] = text
        else:
            rest.append((name, text))
    return own, rest


def _switch(own: dict[str, str], name: str) -> bool:
    text = own.get(name, "false")
    if text not in ("true", "false"):
        raise ValueError(f"{name}: wanted true or false, given {text!r}")
    return text == "true"


def _event(row: LogRow) -> bytes:
    return b"id: %d\ndata: %b\n\n" % (row.arrival, orjson.dumps(document(row)))


@contextmanager
def _aborted(request: web.Request) -> Iterator[None]:
    """End the connection where an answer cannot go on: nothing else says that it is not whole."""
    try:
        yield
    except (StoreAway, TimeoutError, ConnectionError):
        if request.transport is not None:
            request.transport.abort()
