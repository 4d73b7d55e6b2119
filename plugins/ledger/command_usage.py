"""Shows requests, tokens and money from the ledger, by team, model and so on."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from gateway import now_ms
from gateway.command import config_option, json_option, say_json, say_rows

from .command_ledger import reading
from .table import NAMES, STEPS, UsageQuery, rows, wanted

_SHOWN = ("requests", "attempts", "input", "output", "cost USD", "unpriced", "estimated")


@click.command("usage")
@config_option
@json_option
@click.option("--by", default="", metavar="NAMES", help=f"Some of {', '.join(NAMES)}.")
@click.option("--step", type=click.Choice(STEPS), help="A row for each of these, too.")
@click.option("--since", help="From the hour of then on: 2026-11-28, 2026-11-28T09:00Z or 7d.")
@click.option("--until", help="Up to the hour of then, likewise.")
def command(path: str | None, as_json: bool, **asked: Any) -> None:
    """Show what was asked, used and spent."""
    try:
        want = wanted(UsageQuery(**asked), now_ms())
    except ValueError as error:
        raise click.UsageError(str(error)) from None

    async def read() -> list[dict[str, Any]]:
        async with reading(path) as (store, _, _):
            return await rows(store, want)

    found = asyncio.run(read())
    if as_json:
        say_json(found)
        return
    names = (["time"] if want.step else []) + list(want.by)
    table = [[*names, *_SHOWN]]
    table += [[*(str(row[name]) for name in names), *_counts(row)] for row in found]
    say_rows(table)


def _counts(row: dict[str, Any]) -> list[str]:
    return [
        str(row["requests"]),
        str(row["attempts"]),
        str(row["fresh_input"] + row["cache_read"] + row["cache_write"]),
        str(row["output_text"] + row["output_reasoning"]),
        dollars(row["cost_nanousd"]),
        str(row["unpriced"]),
        str(row["estimated"]),
    ]


def dollars(nanousd: int) -> str:
    """Billionths of a dollar as dollars, to the millionth, exactly rounded half up."""
    millionths = (nanousd + 500) // 1000
    return f"{millionths // 1_000_000}.{millionths % 1_000_000:06d}"
