"""The figures that matter as bars, light and dark, for a page that knows both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.compare import Results
from bench.peers import PLAIN
from bench.spread import Middle

THEMES = {
    "light": {"ground": "#ffffff", "ink": "#1f2328", "faint": "#d0d7de"},
    "dark": {"ground": "#0d1117", "ink": "#e6edf3", "faint": "#30363d"},
}
BASE_COLOUR = "#8b949e"
OUR_COLOUR = "#2f81f7"
PANELS = (
    ("unary.cpu_us", "CPU per request, times nginx", True),
    ("sse.cpu_us", "CPU per streamed chunk, times nginx", True),
    ("memory.stream_kb", "KB per open stream", False),
)


def plot(results: Results, folder: Path) -> list[Path]:
    """Write the pictures; gives their paths, none where there is nothing to draw."""
    panels = [
        (title, found)
        for figure, title, ratio in PANELS
        if (found := bars(results, figure, ratio=ratio))
    ]
    return [draw(panels, theme, folder) for theme in THEMES] if panels else []


def bars(results: Results, figure: str, *, ratio: bool) -> dict[str, Middle]:
    ask = results.ratio if ratio and PLAIN.name in results.peers else results.middle
    found = {peer: ask(peer, figure) for peer in results.peers}
    return {peer: value for peer, value in found.items() if value is not None}


def draw(panels: list[tuple[str, dict[str, Middle]]], theme: str, folder: Path) -> Path:
    # Loading it takes longer than many a run, and its usual back end wants a display.
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    colours = THEMES[theme]
    height = 0.7 + 0.5 * max(len(values) for _, values in panels)
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.2 * len(panels), height), squeeze=False, layout="constrained"
    )
    figure.set_facecolor(colours["ground"])
    for axis, (title, values) in zip(axes[0], panels, strict=True):
        panel(axis, title, values, colours)
    path = folder / f"compare-{theme}.png"
    figure.savefig(path, dpi=144)
    plt.close(figure)
    return path


def panel(axis: Any, title: str, values: dict[str, Middle], colours: dict[str, str]) -> None:
    names = list(values)
    medians = [value.median for value in values.values()]
    ranges = [
        [value.median - value.low for value in values.values()],
        [value.high - value.median for value in values.values()],
    ]
    drawn = axis.barh(
        names,
        medians,
        xerr=ranges,
        color=[BASE_COLOUR if name == PLAIN.name else OUR_COLOUR for name in names],
        ecolor=colours["ink"],
        height=0.6,
    )
    labels = axis.bar_label(drawn, [f"{median:.2f}" for median in medians], padding=4)
    for label in labels:
        label.set_color(colours["ink"])
    axis.invert_yaxis()
    axis.margins(x=0.18)
    axis.set_title(title, color=colours["ink"], fontsize=10, loc="left")
    axis.set_facecolor(colours["ground"])
    axis.tick_params(colors=colours["ink"], length=0)
    for spine in axis.spines.values():
        spine.set_color(colours["faint"])
