from __future__ import annotations

from pathlib import Path

from bench.compare import Results, Row
from bench.peers import PLAIN, gateway
from bench.plot import plot


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


def test_nothing_measured_is_nothing_drawn(tmp_path: Path):
    assert plot(Results([PLAIN]), tmp_path) == []
