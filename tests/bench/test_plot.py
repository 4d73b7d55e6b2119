from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pytest

from bench.compare import Results, Row
from bench.peers import PLAIN, gateway, named
from bench.plot import THEMES, panel, plot
from bench.spread import Middle


def test_a_light_and_a_dark_picture_are_drawn(tmp_path: Path):
    ours = gateway("none")
    found = Results([PLAIN, ours])
    for number, value in ((1, 10.0), (2, 12.0)):
        found.rows.append(Row(number, PLAIN.name, "unary", "cpu_us", 10.0))
        found.rows.append(Row(number, ours.name, "unary", "cpu_us", value))
    paths = plot(found, tmp_path)
    assert [path.name for path in paths] == ["compare-light.png", "compare-dark.png"]
    pictures = [path.read_bytes() for path in paths]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert pictures[0] != pictures[1]


def test_a_drawing_for_a_page_is_the_same_from_the_same_numbers(tmp_path: Path):
    found = Results([PLAIN, gateway("none")])
    for name, value in zip(found.peers, (10.0, 20.0), strict=True):
        found.rows.append(Row(1, name, "small", "cpu_us", value))
    paths = plot(found, tmp_path, "bench", "svg")
    assert [path.name for path in paths] == ["bench-light.svg", "bench-dark.svg"]
    texts = [path.read_text() for path in paths]
    assert all("weir none</text>" in text for text in texts)
    plot(found, tmp_path, "bench", "svg")
    assert [path.read_text() for path in paths] == texts


def test_nothing_measured_is_nothing_drawn(tmp_path: Path):
    assert plot(Results([PLAIN]), tmp_path) == []


def test_four_panels_are_a_square(tmp_path: Path):
    found = Results([PLAIN, gateway("none"), *named(["litellm"])])
    for scenario in ("small", "large", "few", "sse"):
        for name, value in zip(found.peers, (10.0, 20.0, 1500.0), strict=True):
            found.rows.append(Row(1, name, scenario, "cpu_us", value))
    light, _ = plot(found, tmp_path)
    # The size stands behind the signature and the head of the first chunk (PNG section 11.2.2).
    width, height = (int.from_bytes(light.read_bytes()[at : at + 4]) for at in (16, 20))
    assert 1.0 < width / height < 3.0


@pytest.mark.parametrize(("most", "scale"), [(30.0, "linear"), (900.0, "log")])
def test_what_is_many_times_another_is_drawn_by_logarithm(most, scale):
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots()
    values = {"nginx": Middle(10.0, 9.0, 11.0), "litellm": Middle(most, most - 5, most + 5)}
    panel(axis, "CPU", values, THEMES["dark"])
    assert axis.get_xscale() == scale
    assert axis.get_xlabel() == ("logarithmic" if scale == "log" else "")
    plt.close(figure)
