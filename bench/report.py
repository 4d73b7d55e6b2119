"""Results as a table, aligned for a terminal or in Markdown.

Figures go down and peers across: a comparison has more figures than peers, and a line is read from
the base to us.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bench.compare import Results
from bench.load import Figures
from bench.peers import DIRECT, PLAIN
from bench.spread import Middle, Spread

# Beyond this the base itself was not steady, and nothing can be said about the others.
MOVED_MAX = 0.25
# Saturated, nginx uses most of its core; less means that others did, or that the load is too weak.
BUSY_MIN = 0.7
# The mock sends at a fixed pace; whoever passes on less than this share of it is saturated.
KEPT_UP_MIN = 0.95


class Line(msgspec.Struct, frozen=True):
    """A line of the table: which figure, times what, how many digits, and whether to add its ratio
    to nginx.
    """

    figure: str
    title: str
    digits: int = 0
    scale: float = 1.0
    ratio: bool = False


LINES = (
    Line("unary.rate", "requests/s, 32 connections"),
    Line("unary.cpu_us", "CPU us per request", 1, ratio=True),
    Line("unary.busy", "core in use, %", 0, 100),
    Line("unary.p99_us", "latency p99, ms", 2, 1e-3),
    Line("small.rate", "1 KB answers/s, 32 connections"),
    Line("small.cpu_us", "CPU us per 1 KB answer", 1, ratio=True),
    Line("small.p99_us", "latency p99 of 1 KB, ms", 2, 1e-3),
    Line("large.rate", "100 KB answers/s"),
    Line("large.cpu_us", "CPU us per 100 KB answer", 1, ratio=True),
    Line("large.p99_us", "latency p99 of 100 KB, ms", 2, 1e-3),
    Line("single.p50_us_added", "added at 1 connection, p50, ms", 3, 1e-3),
    Line("single.p99_us_added", "added at 1 connection, p99, ms", 3, 1e-3),
    Line("few.chunk_rate", "chunks/s, 20 streams"),
    Line("few.cpu_us", "CPU us per chunk of 20 streams", 1, ratio=True),
    Line("few.way_p50_us_added", "added to an event of 20 streams, p50, ms", 2, 1e-3),
    Line("few.gap_p99_us", "gap between events of 20 streams, p99, ms", 1, 1e-3),
    Line("sse.chunk_rate", "chunks/s, 200 streams"),
    Line("sse.cpu_us", "CPU us per chunk", 1, ratio=True),
    Line("sse.way_p50_us_added", "added to an event, p50, ms", 2, 1e-3),
    Line("sse.gap_p99_us", "gap between events, p99, ms", 1, 1e-3),
    Line("ttft.p50_us_added", "TTFT added at 1 stream, p50, ms", 3, 1e-3),
    Line("ttft.p99_us_added", "TTFT added at 1 stream, p99, ms", 3, 1e-3),
    Line("memory.stream_kb", "KB per open stream", 1),
    Line("memory.idle_mb", "idle memory, MB", 0),
    Line("memory.start_s", "start to first answer, s", 2),
)


def table(results: Results) -> list[list[str]]:
    """Head and lines; those that nobody has a value for are left out."""
    lines = [["", *results.peers]]
    for line in LINES:
        cells = [shown(results.middle(peer, line.figure), line) for peer in results.peers]
        if any(cells):
            lines.append([line.title, *(cell or "-" for cell in cells)])
            if line.ratio and PLAIN.name in results.peers:
                lines.append(["  against nginx", *ratio_cells(results, line.figure)])
    lines.append(["errors", *(str(results.errors(peer)) for peer in results.peers)])
    return lines


def ratio_cells(results: Results, figure: str) -> Iterator[str]:
    for peer in results.peers:
        found = results.ratio(peer, figure)
        yield "-" if found is None else shown(found, Line(figure, "", 2))


def shown(value: Middle | None, line: Line) -> str:
    """The median, and the range where there was one."""
    if value is None:
        return ""
    low, median, high = (
        f"{number * line.scale:,.{line.digits}f}"
        for number in (value.low, value.median, value.high)
    )
    return median if low == high else f"{median} ({low}-{high})"


def terminal(lines: list[list[str]]) -> str:
    """Figures to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for title, *cells in lines:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        text.append("  ".join([title.ljust(widths[0]), *right]).rstrip())
    return "\n".join(text)


def markdown(lines: list[list[str]]) -> str:
    head, *rest = lines
    marks = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(
        "| " + " | ".join(cell.strip() for cell in line) + " |" for line in [head, marks, *rest]
    )


def remarks(results: Results) -> list[str]:
    """The circumstances, and whatever speaks against the numbers."""
    said = list(results.notes)
    if found := results.middle(DIRECT.name, "unary.mock_us"):
        said.append(f"The mock upstream itself takes {found.median:.1f} us of CPU per request.")
    for figure in ("unary.busy", "small.busy"):
        used = results.middle(PLAIN.name, figure)
        if used is not None and used.median < BUSY_MIN:
            said.append(
                f"nginx got only {used.median:.0%} of its core in the closed loop: "
                "this machine is not idle, take these numbers as a first impression."
            )
    for figure in ("few.chunk_rate", "sse.chunk_rate"):
        said.extend(behind(results, figure))
    for figure in ("unary.cpu_us", "small.cpu_us", "few.cpu_us", "sse.cpu_us"):
        base = results.middle(PLAIN.name, figure)
        if base is not None and base.moved > MOVED_MAX:
            said.append(
                f"nginx's own {figure} moved by {base.moved:.0%} between rounds: "
                "something else used this machine, do not rely on these ratios."
            )
    return said


def behind(results: Results, figure: str) -> Iterator[str]:
    """Who could not pass on streams as fast as they came, so that its lag grew all the time."""
    for peer in results.peers:
        found = results.ratio(peer, figure, DIRECT.name)
        if found is not None and found.median < KEPT_UP_MIN:
            yield f"{peer} passed on {found.median:.0%} of {figure.partition('.')[0]}'s events."


def document(results: Results, rounds: int, seconds: float) -> str:
    """The table with all that is needed to read it alone."""
    intro = (
        f"Medians of {rounds} alternating rounds (range in brackets), {seconds:g} s a figure. "
        "Requests: POST of 160 B, 600 B of JSON back where no size is named, kept connections. "
        "Streams: events of 320 B, 20 ms apart. CPU is user and system time of all the proxy's "
        "processes; ratios are taken inside each round. An error is a wrong status, body or end, "
        "or 2 s of silence."
    )
    return "\n\n".join([markdown(table(results)), intro, "\n".join(remarks(results))]) + "\n"


def figures_text(figures: Figures, *, as_json: bool) -> str:
    """One run of the load generator."""
    if as_json:
        return msgspec.json.encode(figures).decode()
    rows = [
        [name, plain(value)]
        for name, value in msgspec.structs.asdict(figures).items()
        if value is not None and value == value  # noqa: PLR0124  # not a number is not measured
    ]
    return terminal([["figure", "value"], *rows])


def plain(value: object) -> str:
    if isinstance(value, Spread):
        shares = (("p50", value.p50), ("p90", value.p90), ("p99", value.p99), ("most", value.most))
        return " ".join(f"{name} {number:,.1f}" for name, number in shares) + f" ({value.count:,})"
    if isinstance(value, dict):
        return " ".join(f"{name}={number}" for name, number in value.items()) or "none"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
