from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from plugins.mock.server import Server

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
MESSAGES = {**CHAT, "max_tokens": 9}
TURNS = {"contents": [{"parts": [{"text": "hi"}]}]}
GENERATE = "/v1beta/models/m:generateContent"
STREAM = "/v1beta/models/m:streamGenerateContent"


@asynccontextmanager
async def serving(folder: Path, interval_s: float = 0.0) -> AsyncIterator[aiohttp.ClientSession]:
    runner = Server(interval_s=interval_s, text="one two three four").runner()
    await runner.setup()
    path = str(folder / "mock.sock")
    await web.UnixSite(runner, path).start()
    try:
        async with aiohttp.ClientSession(
            "http://mock", connector=aiohttp.UnixConnector(path)
        ) as session:
            yield session
    finally:
        await runner.cleanup()


def run(
    folder: Path,
    story: Callable[[aiohttp.ClientSession], Awaitable[None]],
    interval_s: float = 0.0,
) -> None:
    async def main() -> None:
        async with serving(folder, interval_s) as session:
            await story(session)

    asyncio.run(main())


async def post(session: aiohttp.ClientSession, path: str, body: object, **more: Any) -> Any:
    async with session.post(path, data=orjson.dumps(body), **more) as answer:
        return answer.status, orjson.loads(await answer.read())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/chat/completions", CHAT),
        ("/v1/completions", {"model": "m", "prompt": "hi"}),
        ("/v1/embeddings", {"model": "m", "input": "hi"}),
        ("/v1/responses", {"model": "m", "input": "hi"}),
        ("/v1/messages?beta=true", MESSAGES),
        ("/v1/messages/count_tokens", CHAT),
        (GENERATE, TURNS),
        ("/v1/models/m:generateContent", TURNS),
        ("/models/m:countTokens", TURNS),
    ],
)
def test_each_path_is_served_with_and_without_a_version(
    tmp_path: Path, path: str, body: object
) -> None:
    async def story(session: aiohttp.ClientSession) -> None:
        status, document = await post(session, path, body)
        assert (status, "error" in document and document["error"] is not None) == (200, False)

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("path", "headers", "member"),
    [
        ("/v1/models", {}, "object"),
        ("/v1/models/any", {}, "owned_by"),
        ("/v1/models", {"anthropic-version": "2023-06-01"}, "first_id"),
        ("/v1/models/any", {"anthropic-version": "2023-06-01"}, "display_name"),
        ("/v1beta/models", {}, "models"),
        ("/v1/models", {"X-Goog-Api-Key": "k"}, "models"),
        ("/v1beta/models/any", {}, "displayName"),
    ],
)
def test_models_are_listed_in_the_format_of_whoever_asks(
    tmp_path: Path, path: str, headers: dict[str, str], member: str
) -> None:
    async def story(session: aiohttp.ClientSession) -> None:
        async with session.get(path, headers=headers) as answer:
            assert member in orjson.loads(await answer.read())

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("path", "body", "content_type", "end"),
    [
        ("/v1/chat/completions", CHAT, "text/event-stream; charset=utf-8", b"data: [DONE]\n\n"),
        ("/v1/messages", MESSAGES, "text/event-stream; charset=utf-8", b'"message_stop"}\n\n'),
        (f"{STREAM}?alt=sse", TURNS, "text/event-stream", b"}\r\n\r\n"),
        (STREAM, TURNS, "application/json", b"}\r\n]"),
    ],
)
def test_each_format_streams_with_its_type(
    tmp_path: Path, path: str, body: dict[str, Any], content_type: str, end: bytes
) -> None:
    async def story(session: aiohttp.ClientSession) -> None:
        async with session.post(path, json={**body, "stream": True}) as answer:
            assert answer.headers["Content-Type"] == content_type
            assert answer.headers["x-request-id"] == "req_mock1"
            assert answer.headers["Server"] == "mock"
            assert (await answer.read()).endswith(end)

    run(tmp_path, story)


def test_tokens_come_at_the_pace_that_is_set(tmp_path: Path) -> None:
    async def story(session: aiohttp.ClientSession) -> None:
        started = time.monotonic()
        async with session.post("/chat/completions", json={**CHAT, "stream": True}) as answer:
            first, _ = await answer.content.iter_chunks().__anext__()
            assert b"assistant" in first
            assert b"[DONE]" not in first
            await answer.read()
        assert time.monotonic() - started >= 6 * 0.02

    run(tmp_path, story, interval_s=0.02)


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/v1/chat/completions", CHAT, ("error", "type")),
        ("/v1/responses", {"model": "m", "input": "hi"}, ("error", "type")),
        ("/v1/messages", MESSAGES, ("error", "type")),
        (GENERATE, TURNS, ("error", "status")),
    ],
)
def test_an_error_is_had_by_a_field_in_the_formats_shape(
    tmp_path: Path, path: str, body: object, where: tuple[str, str]
) -> None:
    async def story(session: aiohttp.ClientSession) -> None:
        headers = {"x-mock": "error-429"}
        async with session.post(path, json=body, headers=headers) as answer:
            document = orjson.loads(await answer.read())
            assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
            kind = document[where[0]][where[1]]
            assert kind in ("rate_limit_error", "RESOURCE_EXHAUSTED")

    run(tmp_path, story)


async def keep(answer: aiohttp.ClientResponse, got: bytearray) -> None:
    async for data in answer.content.iter_any():
        got += data


@pytest.mark.parametrize("streaming", [True, False])
def test_a_cut_answer_is_seen_to_be_cut_after_half_of_it(tmp_path: Path, streaming: bool) -> None:
    async def story(session: aiohttp.ClientSession) -> None:
        body = {**CHAT, "model": "mock-cut", "stream": streaming}
        async with session.post("/chat/completions", json=body) as answer:
            assert answer.status == 200
            got = bytearray()
            with pytest.raises(aiohttp.ClientPayloadError):
                await keep(answer, got)
            assert b"chatcmpl-mock1" in got
            assert b"[DONE]" not in got

    run(tmp_path, story)


def test_an_overloaded_stream_ends_with_an_error_and_a_whole_answer_is_one(tmp_path: Path) -> None:
    async def story(session: aiohttp.ClientSession) -> None:
        body = {**MESSAGES, "model": "mock-overloaded"}
        async with session.post("/v1/messages", json={**body, "stream": True}) as answer:
            *_, last, _ = (await answer.read()).split(b"\n\n")
            assert last.startswith(b"event: error\n")
        assert (await post(session, "/v1/messages", body))[0] == 503

    run(tmp_path, story)


def test_a_silent_request_holds_nothing_once_its_caller_has_left(tmp_path: Path) -> None:
    async def story(session: aiohttp.ClientSession) -> None:
        before = len(asyncio.all_tasks())
        with pytest.raises(TimeoutError):
            await post(
                session,
                "/chat/completions",
                {**CHAT, "model": "mock-silent"},
                timeout=aiohttp.ClientTimeout(total=0.1),
            )
        async with asyncio.timeout(5):
            while len(asyncio.all_tasks()) > before:
                await asyncio.sleep(0.01)

    run(tmp_path, story)


def test_a_slow_answer_takes_its_time(tmp_path: Path) -> None:
    async def story(session: aiohttp.ClientSession) -> None:
        started = time.monotonic()
        status, _ = await post(session, "/chat/completions", {**CHAT, "model": "mock-slow"})
        assert status == 200
        assert time.monotonic() - started >= 2

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("body", "text"),
    [(b"{", "not JSON"), (b"", "not JSON"), (b"[]", "not a JSON object"), (b"{}", "messages")],
)
def test_a_bad_body_is_refused_in_the_formats_shape(tmp_path: Path, body: bytes, text: str) -> None:
    async def story(session: aiohttp.ClientSession) -> None:
        async with session.post("/v1/chat/completions", data=body) as answer:
            assert answer.status == 400
            assert text in orjson.loads(await answer.read())["error"]["message"]

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/v1/nothing", 404), ("GET", "/v1/messages", 405)]
)
def test_an_unknown_path_or_method_is_told_what_there_is(
    tmp_path: Path, method: str, path: str, status: int
) -> None:
    async def story(session: aiohttp.ClientSession) -> None:
        async with session.request(method, path) as answer:
            message = orjson.loads(await answer.read())["error"]["message"]
            assert answer.status == status
            assert f"no {method} {path}" in message
            assert "POST chat/completions" in message

    run(tmp_path, story)
