"""What a request states of its answer is found in each provider's words, and nothing is made up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import is_silent, stated_output

values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())
)


@pytest.mark.parametrize(
    ("document", "stated"),
    [
        ({}, (None, 1)),
        ({"max_tokens": 5}, (5, 1)),
        ({"max_tokens": 5.0}, (5, 1)),
        ({"max_tokens": 5, "max_completion_tokens": 9}, (9, 1)),
        ({"max_output_tokens": 7, "n": 3}, (21, 3)),
        ({"n": 3}, (None, 3)),
        ({"max_tokens_to_sample": 4}, (4, 1)),
        ({"max_gen_len": 4}, (4, 1)),
        ({"generationConfig": {"maxOutputTokens": 8, "candidateCount": 2}}, (16, 2)),
        ({"generation_config": {"max_output_tokens": 8}}, (8, 1)),
        ({"inferenceConfig": {"maxTokens": 8}}, (8, 1)),
        ({"textGenerationConfig": {"maxTokenCount": 8}}, (8, 1)),
        ({"options": {"num_predict": 8}}, (8, 1)),
        ({"parameters": {"max_new_tokens": 8}}, (8, 1)),
        ({"parameters": {"sampleCount": 4}}, (None, 4)),
        ({"num_images": 4}, (None, 4)),
        ({"max_tokens": 1e30, "n": 2}, (2 * int(1e30), 2)),
        ({"max_tokens": float("inf"), "n": float("nan")}, (None, 1)),
        ({"max_tokens": -5, "n": 0, "options": []}, (None, 1)),
        ({"max_tokens": True}, (None, 1)),
        ({"max_tokens": "5"}, (None, 1)),
    ],
)
def test_the_most_output_and_the_answers_are_found(
    document: dict[str, Any], stated: tuple[int | None, int]
) -> None:
    assert stated_output(document) == stated


@given(values, values, values, values)
def test_whatever_stands_there_is_a_whole_number_or_nothing(
    most: Any, other: Any, times: Any, inner: Any
) -> None:
    table = {"maxOutputTokens": inner, "candidateCount": times}
    document = {"max_tokens": most, "maxTokens": other, "n": times, "generationConfig": table}
    found, answers = stated_output(document)

    assert found is None or (type(found) is int and found >= answers)
    assert type(answers) is int
    assert answers >= 1


@pytest.mark.parametrize(
    ("path", "silent"),
    [
        (b"v1/embeddings", True),
        (b"v1/embeddings?api-version=1", True),
        (b"v1beta/models/m:batchEmbedContents", True),
        (b"v1/messages/count_tokens", True),
        (b"v1/chat/completions", False),
        (b"v1/chat/completions?x=embeddings", False),
    ],
)
def test_what_writes_nothing_is_known_by_its_path(path: bytes, silent: bool) -> None:
    assert is_silent(path) is silent
