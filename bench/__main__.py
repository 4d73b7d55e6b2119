"""The commands. What they need is imported when they run, so that `--help` is quick."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure what the gateway adds to a request, beside nginx, in one run on one machine."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=9999, show_default=True, help="0 for any free one.")
@click.option("--socket", "path", default="", help="Listen on this Unix socket instead.")
@click.option("--events", default=50, show_default=True, help="Length of a stream nobody scripted.")
def upstream(host: str, port: int, path: str, events: int) -> None:
    """Answer as providers do, by the script in each request.

    The script is the x-bench header (or x-bench= in the query): "json=600", "sse=250 gap=20
    size=320", "status=429", "wait=100" (ms), "shape=openai|anthropic|gemini",
    "fault=cut|reset|stall after=3" (events, or bytes of a body). Without one the path and
    "stream":true decide. Prints one line when it listens.
    """
    from bench.processes import raise_open_files  # noqa: PLC0415
    from bench.upstream import run  # noqa: PLC0415

    raise_open_files()
    run(host, port, path, events)


@main.command()
@click.argument("url")
@click.option("--socket", default="", help="Connect to this Unix socket instead.")
@click.option("--script", default="json=600", show_default=True, help="What the mock shall answer.")
@click.option("-c", "--connections", default=32, show_default=True)
@click.option(
    "--rate", default=0.0, help="Open loop at so many requests per second; 0: closed loop."
)
@click.option("-d", "--seconds", default=5.0, show_default=True)
@click.option("--warm", default=0.5, show_default=True, help="Seconds before the window.")
@click.option("--ramp", default=2000.0, show_default=True, help="New connections per second.")
@click.option("--pid", type=int, help="Count CPU and memory of this process and its children.")
@click.option(
    "--wrk", is_flag=True, help="Use wrk for a closed loop of whole answers, if installed."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def load(url: str, script: str, warm: float, as_json: bool, **rest: Any) -> None:
    """Send requests or open streams, and count.

    URL is the whole address, for example http://127.0.0.1:8080/bench/v1/chat/completions.
    """
    from bench.load import measure  # noqa: PLC0415
    from bench.options import Options  # noqa: PLC0415
    from bench.processes import end_on_terminate, raise_open_files  # noqa: PLC0415
    from bench.report import figures_text  # noqa: PLC0415
    from bench.script import parse, shape_of  # noqa: PLC0415

    end_on_terminate()
    raise_open_files()
    try:
        wanted = parse(script, shape=shape_of(url.encode()))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--script") from error
    figures = measure(Options(url=url, script=wanted, warm_s=warm, **rest))
    click.echo(figures_text(figures, as_json=as_json))
    raise SystemExit(1 if figures.errors else 0)


def shared(rounds: int, seconds: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options of every comparison, with this one's defaults."""
    options = (
        click.option("--rounds", default=rounds, show_default=True),
        click.option("--seconds", default=seconds, show_default=True, help="Of each figure."),
        click.option("--cores", default="", help="proxy,mock,load, for example 0,1,1; or none."),
    )

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@main.command()
@shared(rounds=5, seconds=3.0)
@click.option(
    "--plugins", multiple=True, help="The gateway's: none, issue, or a,b,c; python:none and so on."
)
@click.option(
    "--peer", "others", multiple=True, help="One more of the field, see peers list; or all."
)
@click.option("--base-only", is_flag=True, help="Without the gateway.")
@click.option(
    "--scenario",
    "names",
    multiple=True,
    help="unary, small, large, single, few, sse, ttft, workers, memory.",
)
@click.option("--streams", default=200, show_default=True, help="Of the sse scenario.")
@click.option("--open-streams", default=3000, show_default=True, help="Of the memory scenario.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the table as Markdown.")
@click.option("--plot/--no-plot", default=True, show_default=True)
@click.option("--write", is_flag=True, help="Put table and pictures into README.md and docs/.")
@click.option("--check", "judged", is_flag=True, help="Exit 1 past the bar.")
def compare(
    plugins: tuple[str, ...],
    others: tuple[str, ...],
    names: tuple[str, ...],
    base_only: bool,
    **rest: Any,
) -> None:
    """Direct, nginx and the gateway with each list of plugins, in alternating rounds.

    With --peer, others of the field too; whoever is not installed is left out and named.
    """
    from bench import table  # noqa: PLC0415

    table.full(*table.chosen(plugins, others, names, base_only=base_only), **rest)


@main.command()
@shared(rounds=3, seconds=2.0)
def check(rounds: int, seconds: float, cores: str) -> None:
    """A short comparison; exit 1 past the bar."""
    from bench import table  # noqa: PLC0415

    table.check(rounds, seconds, cores)


@main.command()
@shared(rounds=5, seconds=2.0)
@click.argument("names", nargs=-1)
@click.option("--sse", is_flag=True, help="Per streamed chunk as well as per request.")
def plugins(names: tuple[str, ...], sse: bool, rounds: int, seconds: float, cores: str) -> None:
    """What each plugin costs: the gateway with it less the gateway with none."""
    from bench import table  # noqa: PLC0415

    table.plugins(names, ("unary", "sse") if sse else ("unary",), rounds, seconds, cores)


@main.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=3.0, show_default=True, help="Of each figure.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the table as Markdown.")
def workers(rounds: int, seconds: float, report: Path | None) -> None:
    """What two workers serve of what one serves, and how the work falls to each.

    Nothing is pinned: gateway, mock and load share the cores.
    """
    from bench import table  # noqa: PLC0415

    table.workers(rounds, seconds, report)


@main.group()
def peers() -> None:
    """Proxies of the field to compare with, each in a folder of its own in bench/.cache."""


@peers.command()
@click.argument("names", nargs=-1)
def install(names: tuple[str, ...]) -> None:
    """Install these, or all: as they are locked, by hash, with no script of theirs run.

    One that cannot be installed is named with the reason, and the others go on; then exit 1.
    """
    from bench.peers import field  # noqa: PLC0415

    try:
        chosen = field.named(names or [field.ALL])
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAMES") from error
    failed = field.install(field.FIELD[peer.kind] for peer in chosen)
    raise SystemExit(1 if failed else 0)


@peers.command(name="list")
def list_peers() -> None:
    """Name them, with the version and whether they can run here."""
    from bench.peers import field  # noqa: PLC0415

    for name, version, here in field.listed():
        click.echo(f"{name:<12}{version:<40}{here}")


if __name__ == "__main__":
    main(prog_name="python -m bench")
