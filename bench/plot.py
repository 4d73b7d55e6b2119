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
# Where the most is so many times the least, the small bars would all look the same.
LINEAR_MAX = 20
PANELS = (
    ("unary.cpu_us", "CPU per request, times nginx", True),
    ("small.cpu_us", "CPU per 1 KB answer, times nginx", True),
    ("large.cpu_us", "CPU per 100 KB answer, times nginx", True),
    ("few.cpu_us", "CPU per chunk of 20 streams, times nginx", True),
    ("sse.cpu_us", "CPU per streamed chunk, times nginx", True),
    ("memory.stream_kb", "KB per open stream", False),
)


def plot(results: Results, folder: Path, name: str = "compare", kind: str = "png") -> list[Path]:
    """Write the pictures; gives their paths, none where there is nothing to draw."""
    panels = [
        (title, found)
        for figure, title, ratio in PANELS
        if (found := bars(results, figure, ratio=ratio))
    ]
    return [draw(panels, theme, folder / f"{name}-{theme}.{kind}") for theme in THEMES if panels]


def bars(results: Results, figure: str, *, ratio: bool) -> dict[str, Middle]:
    ask = results.ratio if ratio and PLAIN.name in results.peers else results.middle
    found = {peer: ask(peer, figure) for peer in results.peers}
    return {peer: value for peer, value in found.items() if value is not None}


def draw(panels: list[tuple[str, dict[str, Middle]]], theme: str, path: Path) -> Path:
    # Loading it takes longer than many a run, and its usual back end wants a display.
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    # Letters as letters, and no names by chance: a small file that differs where numbers do.
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": path.name})
    colours = THEMES[theme]
    # Three beside each other, and four as a square: a page is no wider.
    across = 2 if len(panels) == 4 else min(3, len(panels))
    down = -(-len(panels) // across)
    height = 0.7 + 0.5 * max(len(values) for _, values in panels)
    figure, axes = plt.subplots(
        down, across, figsize=(4.6 * across, height * down), squeeze=False, layout="constrained"
    )
    figure.set_facecolor(colours["ground"])
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, values) in zip(axes.flat, panels, strict=False):
        panel(axis, title, values, colours)
    figure.savefig(path, dpi=144, metadata={"Date": None} if path.suffix == ".svg" else None)
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
        color=[OUR_COLOUR if name.startswith("weir ") else BASE_COLOUR for name in names],
        ecolor=colours["ink"],
        height=0.6,
    )
    labels = axis.bar_label(
        drawn, [f"{median:,.{0 if median >= 100 else 2}f}" for median in medians], padding=4
    )
    for label in labels:
        label.set_color(colours["ink"])
    axis.invert_yaxis()
    if max(medians) > LINEAR_MAX * min(medians) > 0:
        # Bars begin at nothing, which a logarithm has not: half of the least will do.
        axis.set_xscale("log")
        axis.set_xlim(min(medians) / 2, max(medians) * 6)
        axis.minorticks_off()
        axis.set_xlabel("logarithmic", color=colours["ink"], fontsize=8)
    else:
        axis.margins(x=0.18)
    axis.set_title(title, color=colours["ink"], fontsize=9, loc="left")
    axis.set_facecolor(colours["ground"])
    axis.tick_params(colors=colours["ink"], length=0)
    for spine in axis.spines.values():
        spine.set_color(colours["faint"])
