"""What answers say of themselves is read alike from whole ones and from events, whoever spoke."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from gateway import Splitter, Usage, may_tell
from gateway.reading import read
from tests.gateway.answers import CHAT, OPENAI, SSE, STREAMS, WHOLES, Case, counts_of, response

DOCUMENTED = [case for case in STREAMS if case.kind == SSE]
# Everything that a reader looks for, and what is like it.
NAMES = (
    "usage", "usageMetadata", "meta", "billed_units", "tokens", "prompt_tokens", "input_tokens",
    "completion_tokens", "output_tokens", "total_tokens", "inputTokens", "outputTokens",
    "promptTokenCount", "candidatesTokenCount", "prompt_eval_count", "eval_count",
    "inputTextTokenCount", "prompt_token_count", "generation_token_count", "seconds", "type",
    "amazon-bedrock-invocationMetrics", "inputTokenCount", "outputTokenCount", "finish_reason",
    "stop_reason", "stopReason", "done_reason", "finishReason", "blockReason", "completionReason",
    "promptFeedback", "candidates", "choices", "outputs", "results", "object", "status",
    "incomplete_details", "reason", "response", "message", "delta", "metadata", "x_groq",
    "messageStop", "output_file_id", "search_units", "text",
)  # fmt: skip
LEAVES: tuple[Any, ...] = (
    None, True, 0, 1, 7.0, -1, 1 << 60, "", "stop", "response", "realtime.response", "batch",
    "completed", "in_progress", "duration", 'say "usage":{"prompt_tokens":1}', [], {},
)  # fmt: skip


def events_of(case: Case) -> list[tuple[bytes, Any]]:
    events = Splitter().feed(case.body)
    return [(event.raw, orjson.loads(event.data)) for event in events if event.data[:1] == b"{"]


def said(usage: Usage) -> dict[str, Any]:
    return {name: getattr(usage, name) for name in Usage.__slots__}


def told(usage: Usage) -> tuple[Any, ...]:
    return (*counts_of(usage), usage.details, usage.finish_reason)


@pytest.mark.parametrize("case", WHOLES, ids=str)
def test_a_whole_answer_is_read(case):
    usage = Usage()
    read(orjson.loads(case.body), usage)

    assert counts_of(usage) == case.counts
    assert {name: getattr(usage, name) for name in case.rest} == case.rest


@pytest.mark.parametrize("case", DOCUMENTED, ids=str)
def test_a_stream_is_read_event_by_event(case):
    usage = Usage()
    for _, document in events_of(case):
        read(document, usage)

    assert counts_of(usage) == case.counts
    assert {name: getattr(usage, name) for name in case.rest} == case.rest


@pytest.mark.parametrize("case", DOCUMENTED, ids=str)
def test_what_may_not_tell_tells_nothing(case):
    for raw, document in events_of(case):
        usage = Usage()
        read(document, usage)
        assert may_tell(raw) or told(usage) == told(Usage())


def test_most_events_may_not_tell():
    events = [raw for raw, _ in events_of(STREAMS[0])]

    assert [may_tell(raw) for raw in events] == [False] * (len(events) - 2) + [True, True]


def test_what_may_not_tell_tells_nothing_whatever_it_is():
    choose = random.Random(4)
    telling = 0

    def made(depth: int) -> Any:
        if depth == 0 or choose.random() < 0.3:
            return choose.choice(LEAVES)
        if choose.random() < 0.2:
            return [made(depth - 1) for _ in range(choose.randrange(3))]
        return {choose.choice(NAMES): made(depth - 1) for _ in range(choose.randrange(1, 5))}

    for _ in range(20_000):
        document = made(5)
        usage = Usage()
        read(document, usage)
        if told(usage) != told(Usage()):
            telling += 1
            assert may_tell(orjson.dumps(document)), document
    assert telling > 300


def test_no_document_is_too_odd():
    for document in (None, 1, "usage", [], [1, {"usage": 3}], {"usage": [], "delta": 1}):
        usage = Usage()
        read(document, usage)
        assert said(usage) == said(Usage())


def test_what_a_caller_wrote_is_not_taken_for_the_providers_words():
    usage = Usage()
    read(response(metadata={"model": "mine", "id": "mine", "finish_reason": "mine"}), usage)

    assert (usage.model, usage.response_id) == ("gpt-5-2025-08-07", "resp_1")
    assert usage.finish_reason == "completed"


@pytest.mark.parametrize("state", ["queued", "in_progress"])
def test_what_goes_on_has_no_finish_reason(state):
    usage = Usage()
    read(response(state), usage)

    assert usage.finish_reason is None


def test_a_failed_response_says_so():
    usage = Usage()
    read({"type": "response.failed", "response": response("failed")}, usage)

    assert usage.finish_reason == "failed"
    assert may_tell(orjson.dumps({"type": "response.failed", "response": response("failed")}))


def test_the_id_is_the_answers_and_no_items():
    usage = Usage()
    read({"type": "response.output_item.added", "id": "evt_1", "item": {"id": "msg_1"}}, usage)
    assert usage.response_id is None

    read({"type": "response.created", "response": response("queued")}, usage)
    assert usage.response_id == "resp_1"


def test_a_batch_is_known_by_the_file_of_its_results():
    counts = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    batch = {"id": "batch_1", "object": "batch", "model": "gpt-5", "usage": counts}
    usage = Usage()
    read({**batch, "output_file_id": None, "status": "in_progress"}, usage)
    assert said(usage) == said(Usage())

    read({**batch, "output_file_id": "file-1", "status": "completed"}, usage)
    assert (usage.response_id, usage.model, usage.tier) == ("file-1", "gpt-5", "batch")
    assert counts_of(usage) == (7, None, None, 3, None)


def test_later_words_replace_earlier_ones():
    usage = Usage()
    case = WHOLES[0]
    read({"usage": {"prompt_tokens": 1, "completion_tokens": 1}}, usage)
    read(orjson.loads(case.body), usage)

    assert case.path == CHAT
    assert counts_of(usage) == OPENAI
