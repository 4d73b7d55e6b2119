"""What a request may use is read from all that states it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.testing import exchange
from plugins.rate_limit.demand import demand_of


def asked(document: Any, path: bytes = b"v1/chat/completions") -> tuple[int, int | None]:
    return demand_of(exchange(path=path, body=orjson.dumps(document)))


@pytest.mark.parametrize(
    ("document", "output"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 0}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": "5"}, None),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({"max_output_tokens": 7, "n": 3}, 21),
        ({"generationConfig": {"maxOutputTokens": 9, "candidateCount": 2}}, 18),
        ({"options": {"num_predict": 6}, "best_of": 2}, 12),
        ({"inferenceConfig": {"maxTokens": 4}, "options": []}, 4),
        ({"n": 3}, None),
        ({"max_tokens": 1e30}, 10**9),
        ({"max_tokens": 10**9, "n": 10**9}, 10**9),
        ([1], None),
    ],
)
def test_the_most_output_that_is_stated(document, output):
    assert asked(document)[1] == output


def test_input_is_guessed_by_its_bytes():
    assert asked({"messages": ["x" * 400]})[0] in range(100, 110)


def test_embeddings_write_nothing():
    assert asked({}, b"v1/embeddings?x=1")[1] == 0


def test_what_nobody_reads_is_guessed_by_its_length():
    fields = ((b"Content-Type", b"application/json"), (b"Content-Length", b"4000"))
    assert demand_of(exchange(headers=fields)) == (1000, None)
    assert demand_of(exchange(headers=((b"Content-Length", b"4000"),))) == (0, None)


def test_what_is_no_post_uses_no_tokens():
    assert demand_of(exchange(b"GET", b"v1/models")) == (0, 0)
