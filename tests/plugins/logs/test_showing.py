from __future__ import annotations

import orjson
import pytest

from plugins.logs.exporting import document
from plugins.logs.showing import HEAD, body, cells, clean, facts, line, took
from tests.plugins.logs import made as rows
from tests.plugins.logs.made import id_of, made


def test_a_row_of_the_table_says_what_people_ask_first():
    row = made(3, cache_read=5, fresh_input=10, output_text=0, cost_nanousd=1_234_567)
    assert dict(zip(HEAD, cells(row), strict=True)) == {
        "started (UTC)": "2025-11-24 16:00:00",
        "model": "openai/m",
        "status": "200",
        "outcome": "complete",
        "in": "15",
        "out": "0",
        "USD": "0.001235",
        "took": "12 ms",
        "id": id_of(3),
    }


def test_what_is_not_known_is_empty_and_a_path_stands_for_no_model():
    row = made(model=None, status=None, error="unknown_provider", outcome="refused")
    entry = {name: value for name, value in row.document.items() if value is not None}
    shown = cells(row._replace(entry=orjson.dumps(entry)))
    assert shown[1:7] == (
        "/openai/v1/chat/completions",
        "",
        "refused: unknown_provider",
        "",
        "",
        "",
    )


def test_a_row_is_one_line_whatever_a_caller_calls_his_model():
    assert cells(made(model="a\n\x1b[31mb\tc"))[1] == "openai/a \\x1b[31mb c"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb\x00\x7f\x9b", "a\\x0db\\x00\\x7f\\x9b"),
        ("\u202eevil", "\\x202eevil"),
        ("plain\n\tüñ\u3000漢 👩\u200d👩", "plain\n\tüñ\u3000漢 👩\u200d👩"),
    ],
)
def test_what_would_act_on_a_terminal_is_written_out(given, shown):
    assert clean(given) == shown


def test_lines_that_come_alone_stand_under_their_head():
    assert line(cells(made())).index("200") == line(HEAD).index("status")


def test_an_attempt_says_only_what_the_exchange_does_not():
    told = dict(facts(document(made(metadata={"a": 1}, estimated=True))))
    assert (told["metadata"], told["estimated"]) == ('{"a":1}', "true")
    assert told["attempt 1"] == "openai"
    told = dict(facts(document(made(status=502))))
    assert told["attempt 1"] == "openai, status 200"


STREAM = b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\n'
STREAM += b'data: {"choices":[{"index":0,"delta":{"content":"lo"}}]}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (None, ["-- request: not kept --"]),
        (
            rows.body(b'{"a":1}'),
            ["-- request: application/json, 7 bytes --", '{\n  "a": 1\n}'],
        ),
        (
            rows.body(b'{"a":', is_cut=True),
            ["-- request: application/json, 105 bytes, cut after 5 --", '{"a":'],
        ),
        (
            rows.body(STREAM, "text/event-stream"),
            [f"-- request: text of text/event-stream, {len(STREAM)} bytes --", "Hello"],
        ),
        (rows.body(b"\xff", "image/png"), ["-- request: image/png, 1 bytes --", "(no text)"]),
        (rows.body(b"\x1b[1m", ""), ["-- request: no content type, 4 bytes --", "\\x1b[1m"]),
    ],
)
def test_a_body_is_laid_out(found, lines):
    assert list(body("request", found)) == lines


@pytest.mark.parametrize(
    ("us", "text"), [(None, ""), (0, "0 ms"), (812_400, "812 ms"), (1_260_000, "1.3 s")]
)
def test_times_are_short(us, text):
    assert took(us) == text
