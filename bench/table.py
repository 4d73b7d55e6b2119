"""From options to printed tables: the bodies of the commands that compare."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import click

from bench import report
from bench.check import judge
from bench.compare import (
    Results,
    compare,
    new_folder,
    parse_cores,
    prepare,
    usable,
    write_rows,
)
from bench.peers import DIRECT, ISSUE, PLAIN, Peer, gateway, named
from bench.processes import end_on_terminate
from bench.scenarios import EVERY, FIELD, USUAL, Settings

# A request that gives each plugin something to do.
BUSY_FIELDS = {"weir-metadata": '{"user":"bench","team":"north","paid":true}'}


def chosen(
    plugins: Sequence[str], names: Sequence[str], scenarios: Sequence[str], *, base_only: bool
) -> tuple[list[Peer], Sequence[str]]:
    """Who takes part, and in what: with others of the field the questions are theirs too, and our
    core stands there as it is served.
    """
    try:
        others = named(names)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--peer") from error
    usual = ("none", "issue") if others else ("none", "issue", "python:none", "python:issue")
    ours = [] if base_only else [gateway(name) for name in plugins or usual]
    return [DIRECT, PLAIN, *ours, *others], scenarios or (FIELD if others else USUAL)


def full(
    peers: Sequence[Peer],
    names: Sequence[str],
    *,
    rounds: int,
    seconds: float,
    cores: str,
    streams: int = 200,
    open_streams: int = 3000,
    report: Path | None = None,
    plot: bool = True,
    judged: bool = False,
) -> None:
    """Compare, print, write down, and judge where asked to."""
    if unknown := set(names) - set(EVERY):
        raise click.BadParameter(f"no scenario {', '.join(unknown)}; there are {', '.join(EVERY)}")
    settings = Settings(
        seconds=seconds, streams=streams, open_streams=open_streams, cores=parse_cores(cores)
    )
    folder, results = run(peers, names, rounds, settings, "compare")
    show(results, folder, rounds, seconds, report, plot=plot)
    if judged:
        verdicts = judge(results)
        click.echo("\n" + "\n".join(map(str, verdicts)))
        raise SystemExit(0 if all(verdict.passed for verdict in verdicts) else 1)


def run(
    peers: Sequence[Peer], names: Sequence[str], rounds: int, settings: Settings, title: str
) -> tuple[Path, Results]:
    end_on_terminate()
    folder = new_folder(title)
    try:
        results = compare(usable(peers), names, rounds, prepare(settings), folder)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise click.ClickException(str(error)) from error
    with (folder / "figures.csv").open("w", newline="") as out:
        write_rows(results, out)
    return folder, results


def show(
    results: Results, folder: Path, rounds: int, seconds: float, path: Path | None, *, plot: bool
) -> None:
    text = report.terminal(report.table(results))
    click.echo(text)
    click.echo("\n" + "\n".join(report.remarks(results)))
    (folder / "table.txt").write_text(text + "\n")
    if path is not None:
        path.write_text(report.document(results, rounds, seconds))
    if plot:
        from bench.plot import plot as draw  # noqa: PLC0415  # matplotlib may not be installed

        try:
            draw(results, folder)
        except ImportError:
            click.echo("No picture: matplotlib is not installed.", err=True)
    click.echo(f"Rows and pictures are in {folder}", err=True)


def plugins(
    names: Sequence[str], scenarios: Sequence[str], rounds: int, seconds: float, cores: str
) -> None:
    """One gateway a plugin, one with none, one with all; they run side by side, asked in turn."""
    none = gateway("none")
    chosen = [gateway(name) for name in names or ISSUE]
    together = gateway(",".join(names or ISSUE))
    peers = list(dict.fromkeys([none, *chosen, together]))
    settings = Settings(seconds=seconds, cores=parse_cores(cores), fields=BUSY_FIELDS)
    folder, results = run(peers, scenarios, rounds, settings, "plugins")
    click.echo(report.terminal(differences(results, scenarios, none.name)))
    click.echo("\n" + "\n".join(report.remarks(results)))
    click.echo(f"Rows are in {folder}", err=True)


def differences(results: Results, scenarios: Sequence[str], base: str) -> list[list[str]]:
    """Each list's cost, and what it is above the empty list's in the same round."""
    units = {"unary": "CPU us per request", "sse": "CPU us per chunk"}
    lines = [["", *(cell for name in scenarios for cell in (units[name], "more than none"))]]
    for peer in results.peers:
        cells = []
        for name in scenarios:
            line = report.Line(f"{name}.cpu_us", "", 2)
            cells.append(report.shown(results.middle(peer, line.figure), line) or "-")
            more = results.difference(peer, line.figure, base)
            cells.append(report.shown(more, line) or "-")
        lines.append([peer, *cells])
    return lines
