from __future__ import annotations

import pytest

from plugins.mock.knobs import Knobs, knobs_of


@pytest.mark.parametrize(
    ("model", "header", "expected"),
    [
        ("gpt-x", "", Knobs()),
        ("mock", "", Knobs()),
        ("slow-cut-error-500", "", Knobs()),
        ("mock-cut", "", Knobs(cut=True)),
        ("mock-error-429", "", Knobs(error=429)),
        ("mock-error-200", "", Knobs()),
        ("mock-slow-cut", "", Knobs(slow=True, cut=True)),
        ("gpt-x", "error-503", Knobs(error=503)),
        ("gpt-x", "slow, overloaded", Knobs(slow=True, overloaded=True)),
        ("mock-slow", "silent", Knobs(slow=True, silent=True)),
    ],
)
def test_the_model_or_the_field_asks_for_trouble(model: str, header: str, expected: Knobs) -> None:
    assert knobs_of(model, header) == expected
