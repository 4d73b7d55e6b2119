from __future__ import annotations

import datetime as dt
import subprocess
import sys
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

import orjson
import pytest
from genai_prices import types

from plugins.cost import extract


def test_the_script_writes_everything_into_a_file_for_its_owner_only(tmp_path):
    target = tmp_path / "prices.json"
    subprocess.run([sys.executable, "-P", extract.__file__, str(target)], check=True, timeout=60)

    assert target.stat().st_mode & 0o777 == 0o600
    assert orjson.loads(target.read_bytes()) == orjson.loads(orjson.dumps(extract.everything()))
    assert [path.name for path in tmp_path.iterdir()] == ["prices.json"]


def test_the_version_is_the_packages():
    assert extract.everything()["version"] == version("genai-prices")


def test_tiers_and_times_are_written_plainly():
    tiered = types.TieredPrices(Decimal("1.25"), [types.Tier(200_000, Decimal("2.50"))])
    known = types.ModelPrice(input_mtok=tiered, output_mtok=Decimal(10))
    assert extract.prices(known) == {
        "input_mtok": ["1.25", [[200_000, "2.50"]]],
        "output_mtok": "10",
    }

    day = types.StartDateConstraint(dt.date(2026, 8, 17))
    night = types.TimeOfDateConstraint(dt.time(0, 30), dt.time(16, 30))
    assert extract.when(day) == ["from", "2026-08-17"]
    assert extract.when(night) == ["daily", 30, 990]


def test_what_it_does_not_understand_it_does_not_guess():
    with pytest.raises(TypeError, match="unknown condition"):
        extract.clause(object())
    with pytest.raises(TypeError, match="unknown constraint"):
        extract.when(object())
    east = dt.timezone(dt.timedelta(hours=2))
    local = types.TimeOfDateConstraint(dt.time(1, tzinfo=east), dt.time(2, tzinfo=east))
    with pytest.raises(TypeError, match="not in UTC"):
        extract.when(local)


def test_the_gateway_never_imports_the_package():
    code = (
        "import sys, plugins.cost; print('genai_prices' in sys.modules, 'pydantic' in sys.modules)"
    )
    root = Path(extract.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "False"]
