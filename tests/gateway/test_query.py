from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest

from gateway.query import read_query


class Query(msgspec.Struct):
    id: str
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    order: Literal["newest", "oldest"] = "newest"
    least: float | None = None
    whole: bool = False
    since: str = msgspec.field(default="", name="from")


def test_parameters_are_read_as_their_types():
    given = {"id": "7", "limit": "9", "order": "oldest", "least": "1.5", "whole": "true"}

    assert read_query(Query, given) == Query("7", 9, "oldest", 1.5, True)


def test_what_is_left_out_has_its_default():
    assert read_query(Query, {"id": ""}) == Query("")


def test_a_parameter_goes_by_the_name_that_callers_write():
    assert read_query(Query, {"id": "", "from": "7d"}).since == "7d"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"limit": "x"}, 'limit: wanted a whole number from 1 to 100, given "x"'),
        ({"limit": "101"}, 'limit: wanted a whole number from 1 to 100, given "101"'),
        ({"limit": ""}, 'limit: wanted a whole number from 1 to 100, given ""'),
        ({"order": "up"}, 'order: wanted one of "newest", "oldest", given "up"'),
        ({"whole": "maybe"}, 'whole: wanted true or false, given "maybe"'),
        ({"limits": "1"}, "limits: there is no such parameter; did you mean limit?"),
        ({"since": "1"}, "since: there is no such parameter; wanted some of id, limit, order, "),
    ],
)
def test_what_cannot_be_read_is_named_with_what_may_stand_there(given, said):
    with pytest.raises(ValueError, match="^" + said.replace("?", r"\?")):
        read_query(Query, {"id": "7", **given})


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match=r"^id: missing; wanted text$"):
        read_query(Query, {"limit": "1"})
