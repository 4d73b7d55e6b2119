"""Reads the ledger: exports its rows, and holds them against its journal and its sums."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import orjson

from gateway import StartError, StoreAway, now_ms, parse_time
from gateway.command import config_option, in_force, json_option, say, say_json

from .records import rows_of
from .stores import SQLITE_FILE, Store, opened
from .verifying import Found, verify


@asynccontextmanager
async def reading(path: str | None) -> AsyncIterator[tuple[Store, Any, Path]]:
    """The store of the configuration in force, its table, and the state directory."""
    config, table = in_force(path, "ledger")
    state = config.state_path
    if table.store == "sqlite" and not (state / SQLITE_FILE).exists():
        raise StartError(f"there is no ledger yet: {state / SQLITE_FILE}")
    store = opened(table.store, state)
    try:
        await store.open()
        yield store, table, state
    except StoreAway as error:
        raise StartError(f"ledger: {error}") from error
    finally:
        await store.close()


class Time(click.ParamType[int]):
    """A time, as people write it."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        try:
            return parse_time(value, now_ms())
        except ValueError as error:
            self.fail(str(error), param, ctx)


since_option = click.option(
    "--since", type=Time(), default=None, help="From then on: 2026-11-28, 2026-11-28T09:00Z or 7d."
)
until_option = click.option("--until", type=Time(), default=None, help="Up to then, likewise.")


@click.command("export")
@config_option
@since_option
@until_option
@click.option(
    "--kind", type=click.Choice(["exchange", "attempt"]), help="Rows of one kind. Default: both."
)
def export(path: str | None, since: int | None, until: int | None, kind: str | None) -> None:
    """Write every row as a line of JSON: each exchange, then its attempts, oldest first.

    Money and tokens stand on both kinds: an exchange's are the sums of its attempts'.
    """
    asyncio.run(_export(path, since or 0, until, kind))


async def _export(path: str | None, since: int, until: int | None, kind: str | None) -> None:
    out = sys.stdout.buffer
    async with reading(path) as (store, _, _):
        async for entry in store.entries(since_ms=since, until_ms=until):
            for row in rows_of(entry):
                if kind is None or row["kind"] == kind:
                    out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    out.flush()


@click.command("verify")
@config_option
@json_option
def verify_command(path: str | None, as_json: bool) -> None:
    """Hold journal, rows and sums against each other. Exit 1 if they differ."""
    found = asyncio.run(_verify(path))
    if as_json:
        say_json({**found._asdict(), "differences": found.differences})
    else:
        say(
            f"{found.entries} rows, {found.waiting} waiting in {found.files} journal files, "
            f"{found.open} open"
        )
        for difference in found.differences:
            say(difference)
        if not found.differences:
            say("no difference")
    if found.differences:
        raise SystemExit(1)


async def _verify(path: str | None) -> Found:
    async with reading(path) as (store, table, state):
        oldest_ms = None
        if not table.keep_bytes_max:
            oldest_ms = now_ms() - table.keep // 1_000_000
        return await verify(store, state / "journal", kept_since_ms=oldest_ms)


@click.group("ledger", commands=[export, verify_command])
def command() -> None:
    """Read the ledger."""
