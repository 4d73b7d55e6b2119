"""How PostgreSQL is asked: the first rows in order, then the index."""

from __future__ import annotations

from plugins.logs.asking import FIRST, Asked
from plugins.logs.records import Query
from tests.plugins.logs.made import made


def test_what_no_index_of_words_is_needed_for_is_read_in_order():
    asked = Asked(Query(least={"status": 400.0}, limit=7))
    (only,) = asked.ways()
    assert "OFFSET" not in only
    assert only.endswith("ORDER BY logs.id DESC LIMIT 7")
    assert asked.values == [[400.0]]


def test_a_search_looks_at_the_first_and_then_at_all():
    few, whole = Asked(Query(text='"two words" one', before=made(1).id)).ways()
    assert f"LIMIT {FIRST}" in few
    assert "OFFSET 0" in whole
    assert few.count("phraseto_tsquery") == whole.count("phraseto_tsquery") == 2


def test_values_never_stand_in_the_text():
    hostile = "x'; DROP TABLE logs"
    asked = Asked(Query(text=hostile, equal={"team": (hostile,), "score": ("1",)}))
    for text in (*asked.ways(), asked.oldest()):
        assert "DROP" not in text
        assert "drop" not in text
    assert asked.order == "logs.id"
