from __future__ import annotations

import json
from importlib.metadata import version

from click.testing import CliRunner

from gateway.cli import main


def test_the_version_is_the_distributions():
    result = CliRunner().invoke(main, ["version"])
    assert (result.exit_code, result.output) == (0, f"weir {version('weir')}\n")


def test_json_tells_the_same():
    result = CliRunner().invoke(main, ["version", "--json"])
    assert result.exit_code == 0
    assert set(json.loads(result.output)) == {"version", "compiled"}
