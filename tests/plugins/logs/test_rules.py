"""A rule that cannot work is refused with the reason."""

from __future__ import annotations

import msgspec
import pytest

from gateway import parse_size
from plugins.logs import Config
from plugins.logs.rules import Rule


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"pattern": "(a"}, "unterminated"),
        ({"pattern": "a*"}, "matches where nothing is"),
        ({"pattern": "a{99999999999}"}, "too large"),
        ({"pattern": "a", "with": "\\7"}, "invalid group"),
        ({"pattern": "a", "with": "\\g<name>"}, "name"),
        ({"pattern": "a", "wiht": ""}, "wiht"),
        ({"with": ""}, "pattern"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(table, message):
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(table, Rule)


def test_a_rule_says_what_stands_in_the_place():
    assert msgspec.convert({"pattern": "(a)b", "with": "\\1"}, Rule).with_ == "\\1"
    assert msgspec.convert({"pattern": "a"}, Rule).with_ == "[redacted]"


def test_more_of_a_body_than_fits_is_refused():
    with pytest.raises(ValueError, match="at most 16MiB"):
        Config(body_bytes_max=parse_size("17MiB"))
