from __future__ import annotations

import re

import pytest

from plugins.logs.changing import read_change
from plugins.logs.records import Change


def test_what_is_absent_stays_and_null_takes_away():
    assert read_change(b'{"feedback": null, "score": 1}') == Change(feedback=None, score=1)
    assert read_change(b'{"metadata": {"a": true}}') == Change(metadata={"a": True})


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b'{"feedback": 2}', "feedback: wanted 1, -1 or null"),
        (b'{"feedback": "1"}', "feedback: wanted 1, -1 or null"),
        (b'{"feedback": true}', "feedback: wanted 1, -1 or null"),
        (b'{"score": "high"}', "score: wanted a number"),
        (b'{"score": 1e300}', "score: wanted a number from -1e9 to 1e9"),
        (b'{"metadata": {"a": {}}}', "metadata: wanted null or an object"),
        (b'{"metadata": []}', "metadata: wanted null or an object"),
        (b'{"metadata": {"": 1}}', "metadata: wanted null or an object"),
        (b'{"stars": 5}', "stars: there is no such field; wanted feedback, score, metadata"),
        (b"[]", "wanted an object such as"),
        (b"{}", "wanted feedback, score, metadata, or some of them"),
        (b"", "the body is no JSON"),
        (b"{feedback: 1}", "the body is no JSON"),
    ],
)
def test_a_malformed_change_is_refused_by_the_fields_name(sent, told):
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        read_change(sent)
