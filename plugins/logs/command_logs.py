"""Searches, shows, follows, exports and deletes the rows that `logs` keeps."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import click
import msgspec

from gateway import StartError, StoreAway, now_ms
from gateway.command import aligned, config_option, in_force, json_option, say, say_json

from . import showing
from .deleting import delete as deleted
from .exporting import KINDS, document, json_line, pieces
from .options import Pairs, filters, pairs, searched
from .query import FILTERS, LIMIT, ONCE, ORDERS, is_narrow, read, row_id
from .reader import Reader
from .records import LogRow, Query
from .stores import SQLITE_FILE, opened
from .tailing import follow


@asynccontextmanager
async def reading(path: str | None) -> AsyncIterator[Reader]:
    """What reads the store of the configuration in force."""
    config, table = in_force(path, "logs")
    state = config.state_path
    if table.store == "sqlite" and not (state / SQLITE_FILE).exists():
        raise StartError(f"there are no logs yet: {state / SQLITE_FILE}")
    reader = Reader(opened(table.store, state))
    reader.start()
    try:
        yield reader
    except StoreAway as error:
        raise StartError(f"logs: {error}") from error
    finally:
        await asyncio.to_thread(reader.stop)


@contextmanager
def usage() -> Iterator[None]:
    """What cannot be asked for is an error of usage."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from None


@click.command("search")
@config_option
@json_option
@click.argument("words", nargs=-1)
@filters(words=False)
@click.option("--limit", default=LIMIT, show_default=True, help="At most so many rows.")
@click.option("--order", type=click.Choice(ORDERS), default="newest", show_default=True)
@click.option("--cursor", metavar="ID", help="Only what is behind this row.")
def search(path: str | None, as_json: bool, words: tuple[str, ...], **asked: Any) -> None:
    """List rows, those whose bodies hold all WORDS; a "quoted phrase" has to be there as it is."""
    if words:
        asked["search"] = searched(words)

    async def find() -> list[LogRow]:
        async with reading(path) as reader:
            return await reader.find(query)

    with usage():
        query = read(pairs(asked), now_ms(), names=ONCE)
        rows = asyncio.run(find())
    if as_json:
        say_json([document(row) for row in rows])
        return
    if not rows:
        hint = "; words are looked for in bodies, kept with `payload = true`" if words else ""
        say(f"no such row{hint}", err=True)
        return
    _say_aligned([showing.HEAD, *map(showing.cells, rows)])
    if len(rows) == asked["limit"]:
        say(f"there may be more: --cursor {rows[-1].document['id']}, or --limit", err=True)


@click.command("show")
@config_option
@json_option
@click.argument("id_", metavar="ID")
@click.option("--request", "side", flag_value="request", help="Only the request's body, as it is.")
@click.option("--response", "side", flag_value="response", help="Only the answer's, likewise.")
def show(path: str | None, as_json: bool, id_: str, side: str | None) -> None:
    """Show one row with its bodies."""

    async def get() -> LogRow | None:
        async with reading(path) as reader:
            return await reader.get(key)

    with usage():
        key = _id(id_)
    row = asyncio.run(get())
    if row is None:
        raise click.ClickException(f"there is no row {id_}; see `weir logs search`")
    if side is not None:
        _show_body(row, side)
        return
    told = document(row)
    if as_json:
        say_json(told)
        return
    _say_aligned(showing.facts(told))
    for name, body in (("request", row.request), ("response", row.response)):
        for line in showing.body(name, body):
            say(line)


def _say_aligned(rows: Iterable[Sequence[str]]) -> None:
    """Print rows in columns, and nothing of them shortened: ids are there to be copied."""
    for line in aligned(rows):
        say(line)


def _show_body(row: LogRow, side: str) -> None:
    body = row.request if side == "request" else row.response
    if body is None or body.data is None:
        raise click.ClickException(f"no {side} body is kept of this row")
    if sys.stdout.isatty():
        say(showing.clean(body.data.decode("utf-8", "replace")))
    else:
        sys.stdout.buffer.write(body.data)
        sys.stdout.buffer.flush()


@click.command("tail")
@config_option
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each row.")
@filters(times=False)
@click.option("-n", "--lines", default=10, show_default=True, help="Show so many older rows first.")
def tail(path: str | None, as_json: bool, lines: int, **asked: Any) -> None:
    """Show rows as they come, until Ctrl-C."""
    with usage():
        query = read(pairs(asked), now_ms(), names=("search",))
        try:
            asyncio.run(_tail(path, query, lines, as_json))
        except KeyboardInterrupt:
            raise SystemExit(0) from None


async def _tail(path: str | None, query: Query, lines: int, as_json: bool) -> None:
    trouble: str | None = None
    async with reading(path) as reader:
        after = await reader.newest()
        rows = []
        if lines > 0:
            rows = await reader.find(msgspec.structs.replace(query, limit=lines))
        if not as_json:
            say(showing.line(showing.HEAD))
        _say_each([row for row in reversed(rows) if row.arrival <= after], as_json)
        async for seen in follow(reader, query, after):
            if seen.trouble != trouble:
                say(seen.trouble or "the store is there again", err=True)
            trouble = seen.trouble
            _say_each(seen.rows, as_json)


def _say_each(rows: list[LogRow], as_json: bool) -> None:
    for row in rows:
        say(json_line(row).decode().rstrip() if as_json else showing.line(showing.cells(row)))


@click.command("export")
@config_option
@click.option(
    "--format", "format_", type=click.Choice(tuple(KINDS)), default="jsonl", show_default=True
)
@click.option("--bodies", is_flag=True, help="With the bodies.")
@filters()
@click.option("--order", type=click.Choice(ORDERS), default="oldest", show_default=True)
def export(path: str | None, format_: str, bodies: bool, **asked: Any) -> None:
    """Write rows as lines of JSON, or as CSV that is safe to open in a spreadsheet."""

    async def write() -> None:
        async with reading(path) as reader:
            rows = reader.stream(msgspec.structs.replace(query, bodies=bodies))
            async for piece in pieces(rows, format_, bodies):
                sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    with usage():
        query = read(pairs(asked), now_ms(), names=(*FILTERS, "order"))
        asyncio.run(write())


@click.command("delete")
@config_option
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filters()
@click.option("--all", "everything", is_flag=True, help="Delete every row.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(
    path: str | None, ids: tuple[str, ...], everything: bool, yes: bool, **asked: Any
) -> None:
    """Delete rows: those of some IDs, those that filters choose, or all."""
    with usage():
        queries = _condemned(ids, pairs(asked), everything)
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked whether to delete; give --yes")

    async def go() -> int:
        async with reading(path) as reader:
            if not yes:
                count = sum([await reader.count(query) for query in queries])
                if not count or not click.confirm(f"delete {count} rows?"):
                    return 0
            return sum([await deleted(reader, query) for query in queries])

    with usage():
        say(f"{asyncio.run(go())} rows deleted")


def _condemned(ids: tuple[str, ...], asked: Pairs, everything: bool) -> list[Query]:
    query = read(asked, now_ms(), names=FILTERS)
    if bool(ids) + is_narrow(query) + everything != 1:
        raise ValueError("wanted ids, filters, or --all to delete every row: one of these")
    if ids:
        return [Query(id=_id(id_)) for id_ in ids]
    return [query]


def _id(text: str) -> bytes:
    found = row_id(text)
    if found is None:
        raise ValueError(f"{text!r} is no id of a row")
    return found


@click.group("logs", commands=[search, show, tail, export, delete])
def command() -> None:
    """Search, show, follow, export and delete the rows that `logs` keeps."""
