"""What each attempt used is noted on the line, and the caller sees nothing of it."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest

import plugins.usage
from gateway import Again, Attempt, Exchange, Usage, hookimpl
from gateway.testing import (
    Ran,
    ScriptedUpstream,
    Visit,
    answers,
    chunk,
    exchange,
    head,
    plan_of,
    run,
    sized,
)
from plugins.usage import Config
from tests.gateway.answers import (
    CHAT,
    JSON,
    OPENAI,
    OPENAI_COUNTS,
    RESPONSE_COUNTS,
    SSE,
    STREAMING,
    STREAMS,
    WHOLES,
    WORDS,
    Case,
    chat_chunk,
    chat_chunks,
    claude_events,
    counts_of,
    gemini_chunk,
    response,
    response_events,
    spaced,
    sse,
)

CHUNKED = (b"Transfer-Encoding", b"chunked")
PROMPT = {"messages": [{"role": "user", "content": "some words " * 100}]}


def through(
    script: Callable[[Visit], None],
    path: bytes = CHAT,
    document: Any = STREAMING,
    *more: object,
    provider: str = "openai",
    method: bytes = b"POST",
    config: Config | None = None,
    leaves_after: int | None = None,
) -> tuple[Ran, ScriptedUpstream]:
    """Send a request through the real line to a scripted upstream."""
    settings = {} if config is None else {"usage": config}
    plan = plan_of(plugins.usage, *more, settings=settings)
    body = None if method == b"GET" else orjson.dumps(document)
    made = exchange(method, path, provider=provider, body=body)
    with ScriptedUpstream(script) as upstream:
        return run(plan, made, upstream, leaves_after=leaves_after), upstream


def gives(
    body: bytes, kind: bytes = SSE, *fields: tuple[bytes, bytes], status: int = 200
) -> Callable[[Visit], None]:
    """Answer in chunks of some size."""

    def script(visit: Visit) -> None:
        visit.read()
        pieces = [body[at : at + 700] for at in range(0, len(body), 700)]
        visit.send(head(status, (b"Content-Type", kind), CHUNKED, *fields))
        visit.send(b"".join(map(chunk, [*pieces, b""])))

    return script


def breaks(body: bytes, kind: bytes = SSE) -> Callable[[Visit], None]:
    """Answer with a part, and go away."""

    def script(visit: Visit) -> None:
        visit.read()
        visit.send(head(200, (b"Content-Type", kind), CHUNKED) + chunk(body))
        visit.fin()

    return script


def asked_or_not(
    asked: list[dict[str, Any]], unasked: list[dict[str, Any]], write: Callable[[Any], bytes]
) -> Callable[[Visit], None]:
    """A provider that tells its usage where it was asked for it."""

    def script(visit: Visit) -> None:
        visit.read()
        document = orjson.loads(visit.request.body)
        asks = (document.get("stream_options") or {}).get("include_usage")
        gives(write(asked if asks else unasked))(visit)

    return script


def usage_of(ran: Ran) -> Usage:
    usage = ran.exchange.usage
    assert usage is not None
    return usage


# -- what providers say ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", [*STREAMS, *WHOLES], ids=str)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_the_usage_of_each_format_is_noted_and_its_bytes_pass(case: Case, packed: bool) -> None:
    body = gzip.compress(case.body) if packed else case.body
    fields = ((b"Content-Encoding", b"gzip"),) if packed else ()
    ran, _ = through(
        gives(body, case.kind, *fields), case.path, case.request, provider=case.provider
    )

    usage = usage_of(ran)
    known = {name: getattr(usage, name) for name in case.rest}
    # Where it was not asked for, it is asked for, and then the answer comes down decoded.
    is_ours = packed and ran.exchange.notes["usage"].asked and case.kind == SSE
    assert ran.body == (case.body if is_ours else body)
    assert ran.is_complete
    assert (counts_of(usage), known) == (case.counts, case.rest)
    assert (usage.estimated, usage.problem, usage.reported) == (False, None, False)


GEMINI = b"v1beta/models/g:streamGenerateContent?alt=sse"


def gemini_event(*candidates: tuple[int, str | None], output: int | None) -> bytes:
    """A chunk with a word of each candidate: its index and its reason. output: counts up to it."""
    chunk_ = gemini_chunk("word ", output or 0)
    chunk_["candidates"] = [
        {"content": {"parts": [{"text": "word "}]}, "index": index, "finishReason": reason}
        for index, reason in candidates
    ]
    if output is None:
        del chunk_["usageMetadata"]
    return b"data: %b\r\n\r\n" % spaced(chunk_)


BEHIND = {
    "counts in an event of their own": (
        gemini_event((0, None), output=None),
        gemini_event((0, "STOP"), output=None),
        gemini_event(output=19),
    ),
    "later counts": (
        gemini_event((0, "STOP"), output=7),
        gemini_event(output=19),
    ),
    "another candidate": (
        gemini_event((0, None), (1, None), output=4),
        gemini_event((0, "STOP"), output=7),
        gemini_event((1, None), output=12),
        gemini_event((1, "MAX_TOKENS"), output=19),
    ),
    "a reason in each": (
        gemini_event((0, "STOP"), output=7),
        gemini_event((0, "STOP"), output=19),
    ),
}


class Settled:
    """Keeps what is known when an exchange is settled, which is what a ledger writes down."""

    def __init__(self) -> None:
        self.known: Any = None

    @hookimpl
    def settle(self, exchange: Exchange) -> None:
        usage = exchange.usage
        assert usage is not None
        self.known = (exchange.outcome, exchange.end_marker_seen, usage.estimated, counts_of(usage))


@pytest.mark.parametrize("close_delimited", [False, True])
@pytest.mark.parametrize("what", BEHIND)
def test_what_comes_behind_geminis_first_reason_to_finish_counts(
    what: str, close_delimited: bool
) -> None:
    events = BEHIND[what]

    def script(visit: Visit) -> None:
        visit.read()
        framing = () if close_delimited else (CHUNKED,)
        visit.send(head(200, (b"Content-Type", SSE), *framing))
        for event in events:
            visit.send(event if close_delimited else chunk(event))
            time.sleep(0.02)  # each comes alone
        if close_delimited:
            visit.fin()
        else:
            visit.send(chunk(b""))

    settled = Settled()
    ran, _ = through(script, GEMINI, {"contents": []}, settled, provider="google-ai-studio")

    assert (ran.body, ran.is_complete) == (b"".join(events), True)
    assert settled.known == ("complete", True, False, (44, 256, None, 19, 55))


@pytest.mark.parametrize("candidates", [1, 2])
def test_of_several_candidates_one_that_is_finished_is_no_end(candidates: int) -> None:
    """A caller that leaves then has the counts so far, and what others wrote on is not known."""
    body = gemini_event((0, "STOP"), output=7)

    def waits(visit: Visit) -> None:
        visit.read()
        visit.send(head(200, (b"Content-Type", SSE), CHUNKED) + chunk(body))
        visit.wait_gone()

    asked = {"contents": [], "generationConfig": {"candidateCount": candidates}}
    ran, _ = through(waits, GEMINI, asked, provider="google-ai-studio", leaves_after=len(body))

    assert usage_of(ran).output_text == 7
    assert usage_of(ran).estimated is (candidates > 1)


def test_counts_in_fields_are_read() -> None:
    document = {"embeddings": [[0.1]], "id": "1", "texts": ["a"]}
    fields = (
        (b"Content-Type", JSON),
        (b"X-Amzn-Bedrock-Input-Token-Count", b"17"),
        (b"X-Amzn-Bedrock-Output-Token-Count", b"0"),
        (b"X-Amzn-Bedrock-Cache-Read-Input-Token-Count", b"x"),
    )
    ran, _ = through(
        answers(orjson.dumps(document), *fields),
        b"model/cohere.embed/invoke",
        {"texts": ["a"]},
        provider="aws-bedrock",
    )

    assert counts_of(usage_of(ran)) == (17, None, None, 0, None)
    assert not usage_of(ran).estimated


def test_an_error_in_a_200_is_none_and_the_end_marker_is_seen() -> None:
    error = {"error": {"type": "server_error", "message": "no more"}}
    ran, _ = through(gives(sse(*chat_chunks()[:4], error)))

    assert (ran.exchange.outcome, ran.exchange.end_marker_seen) == ("provider_error", True)
    assert usage_of(ran).estimated  # something was written
    assert usage_of(ran).output == 4

    ran, _ = through(gives(sse(error)))
    assert not usage_of(ran).is_known


# -- asking ----------------------------------------------------------------------------------------


def in_lines(chunks: list[dict[str, Any]]) -> bytes:
    return sse(*chunks, done=True)


def in_spaced_lines(chunks: list[dict[str, Any]]) -> bytes:
    return b"".join(b"data: %b\n\n" % spaced(one) for one in chunks) + b"data: [DONE]\n\n"


def in_crlf_lines(chunks: list[dict[str, Any]]) -> bytes:
    return sse(*chunks, done=True, end=b"\r\n")


LAST_IN_BOTH = chat_chunk({"content": "."}, "stop", usage=OPENAI_COUNTS)


@pytest.mark.parametrize("write", [in_lines, in_spaced_lines, in_crlf_lines])
@pytest.mark.parametrize(
    ("asked", "unasked"),
    [
        (chat_chunks(OPENAI_COUNTS), chat_chunks()),
        (
            chat_chunks(OPENAI_COUNTS, obfuscation="a}{b"),
            chat_chunks(obfuscation="a}{b"),
        ),
        ([*chat_chunks(), LAST_IN_BOTH], [*chat_chunks(), LAST_IN_BOTH]),
        ([*chat_chunks(), chat_chunk(None, usage=OPENAI_COUNTS)], chat_chunks()),
    ],
    ids=["null elsewhere", "with obfuscation", "on the last chunk", "absent elsewhere"],
)
def test_a_caller_that_did_not_ask_sees_what_it_would_have_seen(
    asked: list[dict[str, Any]],
    unasked: list[dict[str, Any]],
    write: Callable[[list[dict[str, Any]]], bytes],
) -> None:
    ran, upstream = through(asked_or_not(asked, unasked, write))

    assert upstream.requests[0].body == (
        b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}'
    )
    assert ran.body == write(unasked)
    assert counts_of(usage_of(ran)) == OPENAI
    assert ran.is_complete


@pytest.mark.parametrize(
    ("more", "provider", "path", "config"),
    [
        ({"stream_options": {"include_usage": True}}, "openai", CHAT, None),
        ({"stream": False}, "openai", CHAT, None),
        ({}, "mistral", CHAT, None),
        ({}, "openai", b"v1/responses", None),
        ({}, "openai", CHAT, Config(ask=False)),
        ({"stream_options": 7}, "openai", CHAT, None),
    ],
    ids=["asked already", "no stream", "not known to take it", "told unasked", "off", "no place"],
)
def test_nothing_is_asked_where_nothing_is_to_be(
    more: dict[str, Any], provider: str, path: bytes, config: Config | None
) -> None:
    document = {**STREAMING, **more}
    body = in_lines(chat_chunks(OPENAI_COUNTS))
    ran, upstream = through(gives(body), path, document, provider=provider, config=config)

    assert upstream.requests[0].body == orjson.dumps(document)
    assert ran.body == body


def test_an_error_to_what_we_asked_keeps_its_length() -> None:
    error = b'{"error": {"message": "no such model"}}'
    ran, _ = through(answers(error, status=404))

    assert ran.body == error
    assert ran.get(b"content-length") == b"%d" % len(error)
    assert ran.exchange.usage is None


# -- estimates -------------------------------------------------------------------------------------

LONG = [chat_chunk({"content": word}) for word in WORDS * 40]
CUTS = {
    "chat": ("openai", CHAT, sse(*LONG)),
    "anthropic": ("anthropic", b"v1/messages", sse(*claude_events(WORDS * 40)[:-3], named=True)),
    "responses": ("openai", b"v1/responses", sse(*response_events(response())[:3], *(
        {"type": "response.output_text.delta", "item_id": "msg_9", "delta": word}
        for word in WORDS * 40
    ), named=True)),
    "gemini": (
        "google-ai-studio",
        b"v1beta/models/g:streamGenerateContent?alt=sse",
        b"".join(b"data: %b\r\n\r\n" % spaced(gemini_chunk(word, number * 2))
                 for number, word in enumerate(WORDS * 40)),
    ),
}  # fmt: skip
WRITTEN = 40 * len("".join(WORDS)) / 4


@pytest.mark.parametrize("form", CUTS)
@pytest.mark.parametrize("ending", ["cut", "left"])
def test_an_answer_that_ends_too_early_is_estimated(form: str, ending: str) -> None:
    provider, path, body = CUTS[form]
    if ending == "cut":
        ran, _ = through(breaks(body), path, {**STREAMING, **PROMPT}, provider=provider)
    else:

        def waits(visit: Visit) -> None:
            visit.read()
            visit.send(head(200, (b"Content-Type", SSE), CHUNKED) + chunk(body))
            visit.wait_gone()

        ran, _ = through(
            waits, path, {**STREAMING, **PROMPT}, provider=provider, leaves_after=len(body)
        )

    usage = usage_of(ran)
    assert ran.exchange.outcome == {"cut": "truncated", "left": "client_abort"}[ending]
    assert usage.estimated
    assert usage.output_text is not None
    if form == "gemini":  # its own count, as far as it came
        assert usage.output_text == 2 * (40 * len(WORDS) - 1)
    else:
        assert WRITTEN / 2 < usage.output_text < WRITTEN * 2
    if form in ("chat", "responses"):
        assert usage.fresh_input is not None
        assert 250 < usage.fresh_input < 350
    else:
        assert usage.fresh_input == {"anthropic": 11, "gemini": 44}[form]


def test_a_caller_that_leaves_before_the_answer_is_estimated() -> None:
    class Leaves:
        @hookimpl
        def send(self, exchange: Exchange, attempt: Attempt) -> None:
            assert exchange.line is not None
            line: Any = exchange.line
            line.loop.call_later(0.1, line.leave)

    def waits(visit: Visit) -> None:
        visit.read()
        visit.wait_gone()

    ran, _ = through(waits, CHAT, {**STREAMING, **PROMPT}, Leaves())
    usage = usage_of(ran)

    assert ran.exchange.outcome == "client_abort"
    assert usage.estimated
    assert usage.fresh_input is not None
    assert 250 < usage.fresh_input < 350
    assert usage.output is None


@pytest.mark.parametrize(
    ("body", "kind", "output"),
    [
        (b'{"answer": {"text": "%b"}}' % (b"word " * 400), JSON, 500),
        (b'data: {"text": "word "}\n\n' * 400, SSE, None),
        (b"plain text", b"text/plain", None),
    ],
)  # fmt: skip
def test_an_answer_of_a_form_that_nobody_knows_is_estimated(
    body: bytes, kind: bytes, output: int | None
) -> None:
    ran, _ = through(gives(body, kind), CHAT, {"model": "m", **PROMPT})
    usage = usage_of(ran)

    assert (usage.estimated, usage.output) == (True, output)
    assert usage.fresh_input is not None
    assert 250 < usage.fresh_input < 350


def test_speech_counts_the_characters_that_it_says() -> None:
    ran, _ = through(
        gives(b"ID3\x04" * 500, b"audio/mpeg"),
        b"v1/audio/speech",
        {"model": "tts-1", "input": "Gr\u00fc\u00dfe"},
    )
    usage = usage_of(ran)

    assert usage.details == {"input_characters": 5}
    assert (usage.estimated, usage.output) == (True, None)


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_nobody_can_unpack_is_estimated_and_passes(stream: bool) -> None:
    body = b"\x8b\x02brotli, perhaps" * 40
    ran, _ = through(
        gives(body, SSE if stream else JSON, (b"Content-Encoding", b"br")),
        CHAT,
        {"model": "m", "stream": stream, **PROMPT},
    )
    usage = usage_of(ran)

    assert ran.body == body
    assert ran.is_complete
    assert usage.problem == "cannot decode Content-Encoding: br"
    assert usage.estimated
    assert usage.output == len(body) // 2


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_is_not_packed_as_it_says_passes(stream: bool) -> None:
    body = gzip.compress(in_lines(chat_chunks(OPENAI_COUNTS)))[:100] + b"garbage" * 100
    asks = {"stream_options": {"include_usage": True}}
    ran, _ = through(
        gives(body, SSE if stream else JSON, (b"Content-Encoding", b"gzip")),
        CHAT,
        {"model": "m", "stream": stream, **asks, **PROMPT},
    )
    usage = usage_of(ran)

    assert ran.body == body
    assert ran.is_complete
    assert usage.problem is not None
    assert usage.estimated


@pytest.mark.parametrize(
    ("method", "path", "provider", "status", "body"),
    [
        (b"POST", b"v1/messages/count_tokens", "anthropic", 200, b'{"input_tokens": 9}'),
        (b"POST", b"v1/responses/input_tokens", "openai", 200, b'{"input_tokens": 9}'),
        (b"POST", b"v1beta/models/g:countTokens", "google-ai-studio", 200, b'{"totalTokens": 9}'),
        (b"POST", b"v1/moderations", "openai", 200, b'{"id": "modr-1", "results": []}'),
        (b"POST", b"v1/fine_tuning/jobs", "openai", 200, b'{"id": "ftjob-1"}'),
        (b"POST", CHAT, "openai", 400, b'{"error": {"message": "usage"}}'),
        (b"POST", CHAT, "openai", 500, b""),
        (b"POST", CHAT, "openrouter", 200, b'{"error": {"code": 429, "message": "slow"}}'),
        (b"GET", b"v1/models", "openai", 200, b'{"object": "list", "data": []}'),
    ],
)
def test_what_costs_nothing_is_not_estimated(
    method: bytes, path: bytes, provider: str, status: int, body: bytes
) -> None:
    ran, _ = through(
        answers(body, status=status), path, {"model": "m"}, provider=provider, method=method
    )
    usage = ran.exchange.usage

    assert usage is None or (counts_of(usage) == (None,) * 5 and not usage.estimated)
    error_in_200 = status == 200 and b"error" in body
    assert ran.exchange.outcome == (
        "provider_error" if error_in_200 or status >= 400 else "complete"
    )


def test_nothing_was_used_where_nothing_was_sent() -> None:
    plan = plan_of(plugins.usage)
    ran = run(plan, exchange(body=b'{"model":"m"}'), None)

    assert ran.exchange.outcome == "provider_error"
    assert ran.exchange.usage is None


def test_each_attempt_has_its_own_and_the_exchange_their_sum() -> None:
    class Retries:
        @hookimpl
        def judge(self, exchange: Exchange, attempt: Attempt) -> Again | None:
            return Again() if len(exchange.attempts) < 3 else None

    def script(visit: Visit) -> None:
        visit.read()
        if visit.connection.served == 1 and visit.connection.number == 0:
            visit.reset()
        else:
            visit.send(sized(WHOLES[0].body, (b"Content-Type", JSON)))

    ran, upstream = through(script, CHAT, {"model": "m", **PROMPT}, Retries())
    first, *_, last = ran.exchange.attempts

    assert len(upstream.requests) == 3
    assert first.usage is not None
    assert first.usage.estimated
    assert last.usage is not None
    assert (counts_of(last.usage), last.usage.estimated) == (OPENAI, False)
    known = [attempt.usage.fresh_input for attempt in ran.exchange.attempts if attempt.usage]
    assert usage_of(ran).fresh_input == sum(filter(None, known))


# -- what is told later ----------------------------------------------------------------------------

POLL = b"v1/responses/resp_1"


def asking_for(path: bytes, told: Any, **more: Any) -> Usage:
    body = told if isinstance(told, bytes) else orjson.dumps(told)
    ran, _ = through(gives(body, more.pop("kind", JSON)), path, **more)
    return usage_of(ran)


@pytest.mark.parametrize("stream", [True, False])
def test_a_response_in_the_background_is_counted_when_it_is_told(stream: bool) -> None:
    asked = {"model": "m", "background": True, "stream": stream, **PROMPT}
    queued = response("queued")
    created = {"type": "response.created", "response": queued}
    first = asking_for(
        b"v1/responses",
        sse(created, named=True) if stream else queued,
        document=asked,
        kind=SSE if stream else JSON,
    )
    assert (counts_of(first), first.estimated, first.reported) == ((None,) * 5, False, False)
    assert first.response_id == "resp_1"

    poll = asking_for(POLL, response("in_progress"), method=b"GET")
    assert not poll.is_known

    for again in range(2):
        poll = asking_for(POLL, response(usage=RESPONSE_COUNTS), method=b"GET")
        assert (counts_of(poll), poll.reported, again) == (OPENAI, True, again)
        assert (poll.response_id, poll.estimated) == ("resp_1", False)

    late = sse(*response_events(response(usage=RESPONSE_COUNTS)), named=True)
    told = asking_for(POLL + b"?stream=true", late, method=b"GET", kind=SSE)
    assert (counts_of(told), told.reported, told.response_id) == (OPENAI, True, "resp_1")


def test_an_answer_that_is_made_is_no_report() -> None:
    made = asking_for(b"v1/responses", response(usage=RESPONSE_COUNTS), document={"model": "m"})

    assert (made.reported, made.response_id) == (False, "resp_1")


def test_what_is_pending_is_not_estimated() -> None:
    run_of = {"id": "run_1", "object": "thread.run", "status": "queued", "usage": None}
    made = asking_for(b"v1/threads/t/runs", run_of, document={"model": "m", **PROMPT})

    assert not made.is_known


def test_a_cancelled_response_is_a_report() -> None:
    told = asking_for(POLL + b"/cancel", response("cancelled", usage=RESPONSE_COUNTS), document={})

    assert (counts_of(told), told.reported) == (OPENAI, True)


def test_a_report_that_names_no_counts_is_not_estimated() -> None:
    told = asking_for(POLL + b"/cancel", response("cancelled"), document={})

    assert (counts_of(told), told.reported, told.estimated) == ((None,) * 5, True, False)


CHAT_ANSWER = {"id": "c", "model": "m", "object": "chat.completion", "usage": OPENAI_COUNTS}
LINE = orjson.dumps({"response": {"status_code": 200, "body": CHAT_ANSWER}}) + b"\n"


def test_a_batch_and_its_results_are_told_under_one_id() -> None:
    batch = {
        "id": "batch_1", "object": "batch", "status": "completed", "output_file_id": "file-1",
        "usage": {"input_tokens": 260, "input_tokens_details": {"cached_tokens": 128},
                  "output_tokens": 140, "output_tokens_details": {"reasoning_tokens": 82}},
    }  # fmt: skip
    polled = asking_for(b"v1/batches/batch_1", batch, method=b"GET")
    read = asking_for(
        b"v1/files/file-1/content", LINE * 2, method=b"GET", kind=b"application/octet-stream"
    )

    assert counts_of(polled) == counts_of(read) == (132, 128, None, 58, 82)
    for usage in (polled, read):
        assert (usage.response_id, usage.reported, usage.tier) == ("file-1", True, "batch")


def test_results_that_were_not_read_to_the_end_are_not_counted() -> None:
    ran, _ = through(
        breaks(LINE * 2, b"application/x-jsonl"), b"v1/messages/batches/b/results", method=b"GET",
        provider="anthropic",
    )  # fmt: skip

    assert not usage_of(ran).is_known
    assert usage_of(ran).problem == "not read to the end"


def test_a_part_of_a_file_is_not_counted() -> None:
    ran, _ = through(
        gives(LINE, b"application/octet-stream", status=206),
        b"v1/files/file-1/content",
        method=b"GET",
    )

    assert ran.exchange.usage is None


# -- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (SSE, in_lines(chat_chunks()) + b'data: {"usage": {\n\n'),
        (JSON, b"<html>usage</html>"),
        (b"application/vnd.amazon.eventstream", b"\0\0\0\1" * 100),
        (b"application/x-ndjson", b'{"model"\n' * 3),
    ],
)
def test_a_watcher_that_cannot_read_disturbs_nothing_and_says_so(kind: bytes, body: bytes) -> None:
    asks = {"stream_options": {"include_usage": True}}
    ran, _ = through(gives(body, kind), CHAT, {"model": "m", **asks, **PROMPT})
    usage = usage_of(ran)

    assert ran.body == body
    assert (ran.is_complete, ran.exchange.outcome) == (True, "complete")
    assert usage.problem is not None
    assert usage.estimated


def test_phases_without_an_answer_are_left_alone() -> None:
    plugin = plugins.usage.Plugin(Config())
    made = exchange(body=b"{}")

    assert plugin.tap(made, "upstream") is None
    assert plugin.rewrite(made) is None
    plugin.settle(made)
    assert made.usage is None


# -- forms -----------------------------------------------------------------------------------------


def transcribed(answer: bytes, kind: bytes) -> Ran:
    """A transcription of a file, as the SDKs ask for it."""
    sent: Any = {"data": {"model": "whisper-1"}, "files": {"file": ("a.wav", b"RIFF" * 5000)}}
    request = httpx.Request("POST", "http://h", **sent)
    fields = [(b"Content-Type", request.headers["content-type"].encode())]
    made = exchange(path=b"v1/audio/transcriptions", headers=fields, body=request.read())
    made.model = None
    plan = plan_of(plugins.usage)
    with ScriptedUpstream(gives(answer, kind)) as upstream:
        return run(plan, made, upstream)


def test_a_transcription_is_known_by_the_model_in_its_form() -> None:
    answer = {"text": "hello", "usage": {"type": "duration", "seconds": 3}}
    ran = transcribed(orjson.dumps(answer), JSON)

    assert ran.exchange.model == "whisper-1"
    usage = usage_of(ran)
    assert (usage.details, usage.estimated, usage.input) == ({"input_audio_ms": 3000}, False, None)


def test_of_a_file_no_tokens_are_guessed() -> None:
    ran = transcribed(b"1\n00:00:00 --> 00:00:03\nhello\n", b"text/plain")

    usage = usage_of(ran)
    assert (usage.estimated, usage.input, usage.output) == (True, None, None)
