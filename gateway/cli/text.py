"""Plain text for terminals and scripts: aligned columns, a little colour where somebody looks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import click
import orjson

from gateway.units import Duration, parse_duration

GAP: Final = "  "
# One long value must not push a whole column off the screen.
COLUMN_MAX: Final = 60


def say(text: str, *, err: bool = False) -> None:
    """Print a line, without colour where nobody looks or NO_COLOR is set (no-color.org)."""
    click.echo(text, err=err, color=False if os.environ.get("NO_COLOR") else None)


def say_json(value: Any) -> None:
    """Print a document, indented, with a last line break."""
    say(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows as lines whose columns stand under each other; a cell that is too wide sticks out."""
    table = [list(row) for row in rows]
    columns = max((len(row) for row in table), default=0)
    lengths = ([len(row[at]) for row in table if len(row) > at] for at in range(columns))
    widths = [max((n for n in column if n <= COLUMN_MAX), default=0) for column in lengths]
    return [
        GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in table
    ]


def say_rows(rows: Iterable[Sequence[str]], indent: str = "") -> None:
    """Print rows in columns. On a terminal, and where rich is installed, what is too wide for it is
    wrapped within its column; otherwise lines are as long as they are.
    """
    table = [list(row) for row in rows]
    if sys.stdout.isatty():
        try:
            _say_wrapped(table, indent)
        except ImportError:
            pass
        else:
            return
    for line in aligned(table):
        say(indent + line)


def _say_wrapped(table: list[list[str]], indent: str) -> None:
    from rich.console import Console  # noqa: PLC0415 - it need not be there
    from rich.padding import Padding  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    grid = Table.grid(padding=(0, len(GAP), 0, 0))
    for row in table:
        grid.add_row(*map(Text, row))  # as it stands: what looks like rich's markup is none
    Console(highlight=False).print(Padding(grid, (0, 0, 0, len(indent))))


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for README."""
    body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *body])


class _DurationType(click.ParamType[Duration]):
    """A length of time, written as in the configuration."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> Duration:
        try:
            duration = parse_duration(value)
        except ValueError as error:
            self.fail(f"{error}, given {value!r}", param, ctx)
        if not duration:
            self.fail("wanted more than 0", param, ctx)
        return duration


DURATION: Final = _DurationType()
config_option: Callable[[Any], Any] = click.option(
    "--config",
    "path",
    metavar="FILE",
    help="Configuration file. Default: $WEIR_CONFIG, then ./config.toml, then the defaults.",
)
json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON instead of text."
)
