from __future__ import annotations

import base64
import os

import orjson
import pytest

from plugins.usage.whole import END_BYTES, WHOLE_BYTES_MAX, Whole
from tests.gateway.answers import (
    GEMINI_CHUNKS,
    GEMINI_COUNTS,
    JSON,
    OPENAI,
    OPENAI_COUNTS,
    RESPONSE_COUNTS,
    STREAMS,
    WHOLES,
    counts_of,
    response,
)

PICTURE = base64.b64encode(os.urandom(2 * WHOLE_BYTES_MAX)).decode()
CASES = [*WHOLES, *(case for case in STREAMS if case.kind == JSON)]


def watched(body: bytes, step: int = 1 << 24, *, always: bool = True) -> Whole:
    watcher = Whole(always=always)
    for at in range(0, len(body), step):
        watcher(body[at : at + step])
    watcher.end()
    return watcher


@pytest.mark.parametrize("step", [1, 100, 1 << 20])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_document_is_read_however_it_came(case, step):
    usage = watched(case.body, step).usage

    assert counts_of(usage) == case.counts
    assert {name: getattr(usage, name) for name in case.rest} == case.rest


@pytest.mark.parametrize("step", [5000, 65_536, 1 << 24])
@pytest.mark.parametrize(
    ("document", "counts"),
    [
        ({"id": "1", "data": [{"b64_json": PICTURE}], "usage": OPENAI_COUNTS}, OPENAI),
        ({"id": "1", "usage": OPENAI_COUNTS, "data": [{"b64_json": PICTURE}]}, OPENAI),
        (
            response(output=[{"result": PICTURE}], usage=RESPONSE_COUNTS, tools=[{"a": "b"}] * 50),
            OPENAI,
        ),
        ({"candidates": [{"data": PICTURE}], **GEMINI_CHUNKS[-1]}, GEMINI_COUNTS),
        ({"embeddings": [PICTURE], "meta": {"billed_units": {"input_tokens": 9}}},
         (9, None, None, 0, None)),
    ],
)  # fmt: skip
def test_of_a_large_document_the_ends_are_enough(document, counts, step):
    watcher = watched(orjson.dumps(document), step)

    assert counts_of(watcher.usage) == counts
    assert len(watcher._held) <= 2 * END_BYTES + step


def test_facts_of_a_large_document_are_read_at_both_ends():
    document = {"id": "1", "data": PICTURE, "usage": OPENAI_COUNTS, "model": "gpt-image-2"}
    usage = watched(orjson.dumps(document), 9999).usage

    assert (usage.response_id, usage.model) == ("1", "gpt-image-2")


def test_a_large_documents_own_facts_are_those_that_stand_first():
    document = {
        "id": "resp_1",
        "model": "gpt-5",
        "output": [{"id": "msg_1", "type": "message"}, {"id": "ig_1", "result": PICTURE}],
        "tools": [{"type": "image_generation", "model": "gpt-image-2"}],
        "usage": OPENAI_COUNTS,
    }
    usage = watched(orjson.dumps(document), 9999).usage

    assert (usage.response_id, usage.model) == ("resp_1", "gpt-5")


@pytest.mark.parametrize(
    "end", [b'"}', b'","usage":{"prompt_tokens":1', b'","usage":{"prompt_tokens":x}}']
)
def test_a_large_document_without_counts_is_a_fault(end):
    with pytest.raises(ValueError, match=r"large answer|unexpected"):
        watched(b'{"data":"' + PICTURE.encode() + end)


@pytest.mark.parametrize("body", [b'{"id":"1","usage":{"prompt_tok', b"<html>usage</html>"])
def test_what_is_no_document_is_a_fault(body):
    with pytest.raises(ValueError, match="unexpected"):
        watched(body)


def test_what_promises_nothing_is_decoded_only_on_demand():
    body = orjson.dumps({"object": "list", "data": [], "model": "m"})

    assert watched(body, always=False).usage.model is None
    assert watched(body, always=True).usage.model == "m"


@pytest.mark.parametrize(("state", "pending"), [("queued", True), ("completed", False)])
def test_an_answer_may_be_pending(state, pending):
    assert watched(orjson.dumps(response(state))).is_pending is pending


def test_what_was_written_is_guessed_even_of_a_part():
    body = orjson.dumps({"id": "1", "choices": [{"message": {"content": "word " * 400}}]})
    watcher = Whole(always=True)
    watcher(body[: len(body) // 2])

    assert 150 < watcher.written() < 300
