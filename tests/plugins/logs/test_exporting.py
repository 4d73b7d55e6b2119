from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from plugins.logs.exporting import csv_line, document, head, json_line, pieces
from plugins.logs.records import Body, LogRow
from tests.plugins.logs.made import body, id_of, made

ASKED = body(b'{"model":"m"}')
NO_TEXT = body(b"\xff\xfe\x00", "audio/mpeg")


def test_a_document_is_the_facts_and_what_is_known_of_the_bodies():
    row = made(7, request=ASKED, response=body(b"hi", "text/plain", is_cut=True), feedback=-1)
    found = document(row)
    assert list(found)[:2] == ["id", "started_at"]
    assert (found["id"], found["started_at"]) == (id_of(7), "2025-11-24T16:00:00.007Z")
    assert (found["status"], found["feedback"], found["score"]) == (200, -1, None)
    assert found["attempts"] == [{"n": 1, "provider": "openai", "status": 200}]
    assert found["request"] == {
        "type": "application/json",
        "bytes": 13,
        "cut": False,
        "text": '{"model":"m"}',
    }
    assert found["response"] == {"type": "text/plain", "bytes": 102, "cut": True, "text": "hi"}
    assert "team" not in found  # what is not known is left out


def test_bodies_that_were_not_read_or_not_kept_have_no_text():
    found = document(made(request=Body(None, "text/plain", 9)))
    assert found["request"] == {"type": "text/plain", "bytes": 9, "cut": False}
    assert found["response"] is None


def test_a_body_that_is_no_text_is_base64():
    assert document(made(request=NO_TEXT))["request"]["base64"] == "//4A"


def test_a_line_of_json_is_the_document():
    row = made(request=ASKED)
    assert json_line(row).endswith(b"}\n")
    assert orjson.loads(json_line(row)) == document(row)


def table(*rows: LogRow, bodies: bool = False) -> list[dict[str, str]]:
    text = (head(bodies) + b"".join(csv_line(row, bodies) for row in rows)).decode()
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_a_csv_has_a_column_for_each_fact_and_an_empty_cell_for_what_is_not_known():
    (found,) = table(made(3, metadata={"team": "a"}, streaming=True, cost_nanousd=0, score=0.5))
    assert (found["id"], found["started_at"]) == (id_of(3), "2025-11-24T16:00:00.003Z")
    assert (found["metadata"], found["streaming"]) == ('{"team":"a"}', "true")
    assert (found["cost_nanousd"], found["score"], found["feedback"]) == ("0", "0.5", "")
    assert (found["team"], found["attempts"], found["request_type"]) == ("", "1", "")
    assert "request" not in found


def test_a_csv_with_bodies_has_them_in_the_last_columns():
    (found,) = table(made(request=ASKED, response=NO_TEXT), bodies=True)
    assert (found["request"], found["request_type"], found["request_bytes"]) == (
        '{"model":"m"}',
        "application/json",
        "13",
    )
    assert found["response"] == "data:audio/mpeg;base64,//4A"


@pytest.mark.parametrize("text", ['a "b", c', "two\r\nlines", "\n", "a\rb", "ü", " x ", "a,b;c"])
def test_a_csv_gives_back_any_text(text):
    (found,) = table(made(model=text))
    assert found["model"] == text


def test_a_csv_is_in_the_form_of_rfc_4180():
    lines = csv_line(made(model='a "b", c\nd'), bodies=False)
    assert b',"a ""b"", c\nd",' in lines
    assert lines.endswith(b"\r\n")
    assert lines.count(b"\r") == 1


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://x","y")',
        "+1",
        "-1",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "\x00=1",
        "\u200b=1",
        "\uff1d1",
        "\uff0b1",
        "\uff20x",
        "\u3000=1",
    ],
)
def test_what_a_spreadsheet_would_compute_is_a_text(text):
    row = made(model=text, request=body(text.encode(), "text/plain"))
    (found,) = table(row, bodies=True)
    assert (found["model"], found["request"]) == ("'" + text, "'" + text)


def test_a_negative_number_is_a_number():
    assert table(made(feedback=-1, score=-0.5))[0]["feedback"] == "-1"


async def _each(rows: list[LogRow]) -> AsyncIterator[LogRow]:
    for row in rows:
        yield row


def in_pieces(rows: list[LogRow], format_: str, **options: Any) -> list[bytes]:
    async def collect() -> list[bytes]:
        return [piece async for piece in pieces(_each(rows), format_, **options)]

    return asyncio.run(collect())


def test_an_export_is_written_in_pieces():
    rows = [made(n, request=body(b'"%s"' % (b"x" * 10_000))) for n in range(100)]
    found = in_pieces(rows, "jsonl", bodies=True)
    assert len(found) > 10
    assert max(map(len, found)) < 100_000
    assert [orjson.loads(line)["id"] for line in b"".join(found).splitlines()] == [
        id_of(n) for n in range(100)
    ]


def test_an_export_of_nothing_is_a_head_or_nothing():
    assert in_pieces([], "jsonl", bodies=False) == [b""]
    assert in_pieces([], "csv", bodies=False) == [head(bodies=False)]
