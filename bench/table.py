"""From options to printed tables: the bodies of the commands that compare."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from bench import report
from bench.check import ISSUE as WITH_ISSUE
from bench.check import NONE, PAIR, SCENARIOS, Verdict, judge
from bench.compare import (
    Results,
    compare,
    new_folder,
    parse_cores,
    prepare,
    usable,
    write_rows,
)
from bench.peers import DIRECT, ISSUE, PLAIN, ROOT, Peer, gateway, named
from bench.processes import end_on_terminate
from bench.scenarios import EVERY, FIELD, USUAL, Settings
from bench.workers import COUNT, DEAR, FEW, MANY, pair

START = "<!-- generated: field -->\n"
END = "<!-- end -->"
PICTURES = """\
<picture>
  <source media="(prefers-color-scheme: dark)" srcset="docs/bench-dark.svg">
  <img alt="CPU of each proxy, in times of nginx's" src="docs/bench-light.svg">
</picture>

"""
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
    write: bool = False,
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
    if write:
        into_readme(results, rounds, seconds)
    if judged:
        tell(judge(results))


def check(rounds: int, seconds: float, cores: str) -> None:
    """Those with a bar; the workers after the rest, for they want every core."""
    settings = Settings(seconds=seconds, cores=parse_cores(cores))
    folder, results = run([PLAIN, NONE, WITH_ISSUE], SCENARIOS, rounds, settings, "compare")
    show(results, folder, rounds, seconds, None, plot=False)
    _, paired = run(PAIR, ["workers"], rounds, Settings(seconds=seconds), "workers")
    click.echo("\n" + report.terminal(by_worker(paired)))
    tell([*judge(results), *judge(paired)])


def tell(verdicts: Sequence[Verdict]) -> None:
    """The last that is said: it ends the process."""
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


def into_readme(results: Results, rounds: int, seconds: float, root: Path = ROOT) -> None:
    """Renew the README's part that a run with others of the field makes, and its pictures."""
    from bench.plot import plot as draw  # noqa: PLC0415  # matplotlib is slow to load

    readme = root / "README.md"
    before, start, rest = readme.read_text().partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise click.ClickException(f"no {START.strip()} ... {END} in README.md")
    shown = PICTURES if draw(results, root / "docs", "bench", "svg") else ""
    text = shown + report.document(results, rounds, seconds)
    readme.write_text(before + start + text + end + after)


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


def workers(rounds: int, seconds: float, path: Path | None) -> None:
    """Pairs of the gateway with one worker and with two."""
    pairs = [pair("none"), pair("issue"), pair(DEAR)]
    peers = [peer for both in pairs for peer in both]
    folder, results = run(peers, ["workers"], rounds, Settings(seconds=seconds), "workers")
    lines = by_worker(results)
    said = [*report.remarks(results), *scaled(results, pairs)]
    click.echo(report.terminal(lines) + "\n\n" + "\n".join(said))
    if path is not None:
        path.write_text(report.markdown(lines) + "\n\n" + "\n".join(said) + "\n")
    click.echo(f"Rows are in {folder}", err=True)


WORKERS = (
    report.Line("workers.rate", f"requests/s, {MANY} connections"),
    report.Line("workers.cpu_us", "CPU us per request", 1),
    report.Line("workers.busy", "gateway's cores in use", 2),
    report.Line("workers.least_cpu", "CPU of who worked least, %", 0, 100),
    report.Line("workers.least_of_many", f"of {MANY} connections the least, %", 0, 100),
    report.Line("workers.least_of_few", f"of {FEW}, %", 0, 100),
    report.Line("workers.none_of_few", f"nothing of {FEW}, % of tries", 0, 100),
)


def by_worker(results: Results) -> list[list[str]]:
    lines = [["", *results.peers]]
    for line in WORKERS:
        cells = (report.shown(results.middle(peer, line.figure), line) for peer in results.peers)
        lines.append([line.title, *(cell or "-" for cell in cells)])
    lines.append(["errors", *(str(results.errors(peer)) for peer in results.peers)])
    return lines


def scaled(results: Results, pairs: Sequence[tuple[Peer, Peer]]) -> Iterator[str]:
    """Times one worker's: as served beside the load, and as follows from the CPU per request where
    the load takes none of two cores.
    """
    for one, two in pairs:
        served = results.ratio(two.name, "workers.rate", one.name)
        per_cpu = results.ratio(one.name, "workers.cpu_us", two.name)
        if served is not None and per_cpu is not None:
            yield (
                f"{two.name}: {report.shown(served, report.Line('', '', 2))} times the requests/s "
                f"of {one.name} as served, "
                f"{report.shown(per_cpu, report.Line('', '', 2, COUNT))} by CPU per request."
            )
