from __future__ import annotations

import random
import tracemalloc
from typing import Any

import orjson
import pytest

from gateway import Splitter, Usage
from plugins.usage.watching import LINE_BYTES_MAX, READ_AT_ONCE, Events, Lines, Messages, Watcher
from tests.gateway.answers import (
    AWS,
    JSON,
    NDJSON,
    OPENAI,
    OPENAI_COUNTS,
    SSE,
    STREAMS,
    WORDS,
    chat_chunk,
    chat_chunks,
    counts_of,
    sse,
)

WATCHERS: dict[bytes, Any] = {SSE: Events, AWS: Messages, NDJSON: Lines}
CASES = [case for case in STREAMS if case.kind != JSON]


def watched(body: bytes, kind: bytes = SSE, sizes: tuple[int, ...] = (1 << 20,)) -> Watcher:
    """Show a body to its watcher, in pieces of these sizes."""
    watcher, splitter = WATCHERS[kind](), Splitter()
    choose, at = random.Random(len(body)), 0
    while at < len(body):
        piece = body[at : at + choose.choice(sizes)]
        at += len(piece)
        if isinstance(watcher, Events):
            for event in splitter.feed(piece):
                watcher.event(event)
        else:
            watcher(piece)
    watcher.end()
    return watcher


@pytest.mark.parametrize("sizes", [(1 << 20,), (1, 2, 3), (1, 50, 700)], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_stream_is_read_however_it_was_cut(case, sizes):
    usage = watched(case.body, case.kind, sizes).usage

    assert counts_of(usage) == case.counts
    assert {name: getattr(usage, name) for name in case.rest} == case.rest
    assert usage.problem is None


def test_comments_in_front_do_not_use_up_the_reading():
    body = sse(*["PROCESSING"] * 100, *chat_chunks(OPENAI_COUNTS), done=True)

    assert counts_of(watched(body).usage) == OPENAI


def test_a_reason_that_comes_before_the_last_counts_is_kept():
    chunks = [chat_chunk({"content": "a"}, usage={"prompt_tokens": 5, "completion_tokens": n})
              for n in range(40)]  # fmt: skip
    chunks.insert(30, chat_chunk({}, "length"))
    usage = watched(sse(*chunks, done=True)).usage

    assert (usage.output, usage.finish_reason) == (39, "length")


def test_text_that_looks_like_counts_hides_none():
    text = [chat_chunk({"content": 'so "usage":{"prompt_tokens":9} or "finish_reason":"x"'})] * 20
    chunks = [*text, *chat_chunks(OPENAI_COUNTS), *text]

    assert counts_of(watched(sse(*chunks, done=True)).usage) == OPENAI


def test_only_what_may_tell_is_decoded():
    broken = sse(*chat_chunks()[:-1] * 50).replace(b"}\n\n", b"\n\n")  # decoding it would raise
    watcher = Events()
    watcher.usage.model = "known"
    for event in Splitter().feed(broken + sse(*chat_chunks(OPENAI_COUNTS)[-2:], done=True)):
        watcher.event(event)
    watcher.end()

    assert counts_of(watcher.usage) == OPENAI


def test_little_is_kept_of_a_long_stream():
    chunk = sse(chat_chunk({"content": "word"}, usage={"prompt_tokens": 5, "completion_tokens": 1}))
    watcher, splitter = Events(), Splitter()
    tracemalloc.start()
    for _ in range(20_000):
        for event in splitter.feed(chunk):
            watcher.event(event)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 100_000


def test_counts_are_of_all_that_came_only_as_long_as_nothing_follows():
    counted = chat_chunk({"content": "a"}, usage={"prompt_tokens": 5, "completion_tokens": 1})
    watcher = watched(sse(counted))
    assert watcher.is_counted

    watcher = watched(sse(counted, chat_chunk({"content": "b"})))
    assert not watcher.is_counted


BROKEN = b'data: {"choices":[],"usage":{"prompt_tokens":1}\n\n'


def test_a_broken_document_is_said_and_does_not_hide_those_behind_it():
    usage = watched(BROKEN + sse(*chat_chunks(OPENAI_COUNTS), done=True)).usage

    assert counts_of(usage) == OPENAI
    assert usage.problem is not None
    assert usage.problem.startswith("not read: unexpected")


@pytest.mark.parametrize("parts", [2, 2 * READ_AT_ONCE])
def test_what_was_counted_before_a_broken_document_is_a_part(parts):
    counts = {"prompt_tokens": 5, "completion_tokens": 1}
    watcher = watched(sse(*[chat_chunk({"content": "a"}, usage=counts)] * parts) + BROKEN)

    assert watcher.usage.output == 1
    assert not watcher.is_counted


def test_what_a_dropped_watcher_counted_is_a_part():
    counts = {"prompt_tokens": 5, "completion_tokens": 1}
    watcher = watched(sse(chat_chunk({"content": "a"}, usage=counts)))
    watcher.failed(ValueError("no such coding"))

    assert not watcher.is_counted


def test_half_of_a_surrogate_pair_beside_the_counts_hides_nothing():
    body = sse(*chat_chunks(OPENAI_COUNTS), done=True).replace(b'"usage"', b'"x":"\\ud83d","usage"')
    usage = watched(body).usage

    assert (counts_of(usage), usage.problem) == (OPENAI, None)


def test_space_before_a_document_is_allowed():
    body = sse(*chat_chunks(OPENAI_COUNTS), done=True).replace(b"data: ", b"data:  ")

    assert counts_of(watched(body).usage) == OPENAI


def test_a_dropped_watcher_says_why():
    watcher = Events()
    watcher.failed(ValueError("no such coding"))

    assert watcher.usage.problem == "no such coding"


def test_a_line_that_is_too_long_is_skipped_and_said():
    last = orjson.dumps({"model": "m", "done": True, "prompt_eval_count": 3, "eval_count": 4})
    body = b'{"message":"' + b"x" * (2 * LINE_BYTES_MAX) + b'"}\n' + last
    watcher = watched(body, NDJSON, (70_000,))

    assert counts_of(watcher.usage) == (3, None, None, 4, None)
    assert watcher.usage.problem == "a line was too long to be read"


def test_what_was_written_is_guessed_of_each_form():
    for case in CASES:
        if "stream" not in case.name or "speech" in case.name or "image" in case.name:
            continue
        written = watched(case.body, case.kind).written()
        assert len("".join(WORDS)) / 8 <= written or case.name == "openai-transcript-stream"


def test_nothing_is_known_of_nothing():
    watcher = watched(b"")

    assert (counts_of(watcher.usage), watcher.written()) == (counts_of(Usage()), 0)
    assert not watcher.is_pending
