"""The record of what was used: sums of what is known, and guesses."""

from __future__ import annotations

import base64
import os
import time

import orjson
import pytest

from gateway import Usage, estimate_input, may_tell
from gateway.usage import total
from tests.gateway.answers import counts_of


def used(**known: object) -> Usage:
    usage = Usage()
    for name, value in known.items():
        setattr(usage, name, value)
    return usage


def test_nothing_is_known_of_a_new_one():
    usage = Usage()

    assert counts_of(usage) == (None,) * 5
    assert (usage.input, usage.output, usage.is_known) == (None, None, False)


def test_input_and_output_are_sums_of_what_is_known():
    usage = used(fresh_input=1, cache_read=20, output_reasoning=300)

    assert (usage.input, usage.output, usage.is_known) == (21, 300, True)


@pytest.mark.parametrize("known", [{"fresh_input": 0}, {"output_text": 0}, {"details": {"a": 1}}])
def test_zero_is_known(known):
    assert used(**known).is_known


def test_the_sum_of_two_keeps_what_one_alone_knows():
    both = used(fresh_input=1, details={"images": 1}, model="a", cost_nanousd=7)
    both.add(used(fresh_input=2, output_text=5, details={"images": 2, "web_searches": 1}))

    assert counts_of(both) == (3, None, None, 5, None)
    assert both.details == {"images": 3, "web_searches": 1}
    assert (both.model, both.cost_nanousd, both.estimated) == ("a", 7, False)


def test_the_sum_takes_no_part_of_its_parts():
    both, part = Usage(), used(details={"images": 1})
    both.add(part)
    both.add(part)

    assert (both.details, part.details) == ({"images": 2}, {"images": 1})


def test_one_guess_makes_the_sum_a_guess():
    both = used(fresh_input=1, problem="cut")
    both.add(used(fresh_input=2, estimated=True, reported=True, problem="late"))

    assert (both.estimated, both.reported, both.problem) == (True, True, "cut")


def test_the_total_of_unknowns_is_unknown():
    assert (total(None, None), total(None, 0), total(1, None, 2)) == (None, 0, 3)


def test_text_is_guessed_by_its_bytes():
    body = orjson.dumps({"messages": [{"role": "user", "content": "a few words " * 1000}]})

    assert 0.9 < estimate_input(body) / (12_000 / 4) < 1.1
    assert estimate_input(b"{}") == 1


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_a_picture_is_not_guessed_by_its_bytes(prefix):
    picture = prefix + base64.b64encode(os.urandom(300_000)).decode()
    body = orjson.dumps({"content": [{"text": "What is it?"}, {"data": picture}]})

    assert 1000 <= estimate_input(body) < 1100


def test_long_text_without_a_quote_is_no_picture():
    for text in ("word " * 2000, "\u5929" * 4000, "\\" * 4000):
        assert estimate_input(orjson.dumps([text])) > 2000


def test_a_guess_takes_no_time_whatever_the_body_is():
    bodies = (b"a" * 8_000_000, (b"b" * 1023 + b" ") * 8_000, b'"' * 2_000_000)
    started = time.process_time()
    for body in bodies:
        estimate_input(body)

    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"choices":[{"delta":{"content":"hi"},"finish_reason":null}],"usage":null}', False),
        (b'{"choices": [{"delta": {}, "finish_reason": null}], "usage": null}', False),
        (b'{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":null}', True),
        (b'{"choices":[{"finish_reason":null,"native_finish_reason":"stop"}]}', True),
        (b'{"usage":null,"x_groq":{"usage":{"prompt_tokens":1}}}', True),
        (b'{"delta":{"text":"the \\"usage\\":null of it"},"usage":{}}', True),
        (b'{"type":"response.output_text.delta","delta":"in usage"}', False),
        (b'{"type":"response.failed","response":{"usage":null}}', True),
        (b'{"usageMetadata":{}}', True),
        (b": ping\n\n", False),
    ],
)
def test_what_may_tell(raw, expected):
    assert may_tell(raw) is expected
