"""The mock's web server: which path speaks which format, at what pace, and how it misbehaves."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

import orjson
from aiohttp import web

from plugins.mock import anthropic, gemini, openai, responses
from plugins.mock.formats import OVERLOADED, Format
from plugins.mock.knobs import HEADER, SLOW_FACTOR, SLOW_START_S, Knobs, knobs_of
from plugins.mock.script import Document, Refusal, write

# As much as a gateway would read of a body that its plugins want to see.
BODY_BYTES_MAX: Final = 32 * 1024 * 1024
# By the time this server stops, the gateway has drained what it wanted to keep.
SHUTDOWN_S: Final = 1.0
MODELS: Final = (
    "mock",
    "mock-cut",
    "mock-error-429",
    "mock-error-500",
    "mock-overloaded",
    "mock-silent",
    "mock-slow",
)

_GOOGLE: Final = frozenset({"x-goog-api-key", "x-goog-api-client"})
_VERSION: Final = re.compile(r"/*(?:v1/|v1beta/)?")


class Server:
    """Answers requests. interval_s: between two tokens. text: what is said."""

    def __init__(self, *, interval_s: float, text: str) -> None:
        self.interval_s = interval_s
        self.text = text
        self._numbers = itertools.count(1)

    def runner(self) -> web.AppRunner:
        """Give the application, ready to be set up on any socket."""
        application = web.Application(client_max_size=BODY_BYTES_MAX)
        application.router.add_route("*", "/{path:.*}", self._serve)
        application.on_response_prepare.append(_unsigned)
        # A caller that leaves ends its handler, which may be asleep for good.
        return web.AppRunner(
            application,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=SHUTDOWN_S,
        )

    async def answer(self, request: web.Request, form: Format) -> web.StreamResponse:
        """Answer in a format, as the request's knobs want it."""
        ask = form.read(await document_of(request))
        knobs = knobs_of(ask.model, request.headers.get(HEADER, ""))
        if knobs.silent:
            await asyncio.Event().wait()
        if knobs.slow:
            await asyncio.sleep(SLOW_START_S)
        if knobs.error is not None:
            raise Refusal(knobs.error, f"The mock provider was asked for a {knobs.error}.")
        script = write(ask, self.text, next(self._numbers))
        headers = {"request-id": f"req_mock{script.number}"}
        headers["x-request-id"] = headers["request-id"]
        if ask.streaming:
            headers |= {"Content-Type": form.content_type, "Cache-Control": "no-cache"}
            return await self._stream(request, form, [*form.frames(ask, script)], knobs, headers)
        if knobs.overloaded:
            raise Refusal(503, OVERLOADED)
        response = _json(form.whole(ask, script), headers=headers)
        return await _cut(request, response) if knobs.cut else response

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        path = _VERSION.sub("", request.path, count=1)
        status = 404
        for route in ROUTES:
            match = route.path.fullmatch(path)
            if match is None:
                continue
            if route.method != request.method:
                status = 405
                continue
            try:
                return await route.answer(self, request, match)
            except Refusal as refusal:
                return _refused(route.error, refusal.status, refusal.message)
            except web.HTTPRequestEntityTooLarge:
                return _refused(route.error, 413, "The request's body is too large.")
        served = ", ".join(f"{route.method} {route.shown}" for route in ROUTES)
        message = f"The mock provider has no {request.method} {request.path}. It serves {served}."
        return _refused(openai.error, status, message)

    async def _stream(
        self,
        request: web.Request,
        form: Format,
        frames: list[bytes],
        knobs: Knobs,
        headers: dict[str, str],
    ) -> web.StreamResponse:
        is_broken = knobs.cut or knobs.overloaded
        interval_s = self.interval_s * (SLOW_FACTOR if knobs.slow else 1)
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for number, frame in enumerate(frames[: len(frames) // 2] if is_broken else frames):
            if number:
                await asyncio.sleep(interval_s)
            await response.write(frame)
        if knobs.overloaded:
            await response.write(form.failure)
        if knobs.cut and request.transport is not None:
            request.transport.abort()
        return response


class Route(NamedTuple):
    """A method and a path after its version; who answers there, and the shape of errors."""

    method: str
    path: re.Pattern[str]
    shown: str
    answer: Callable[[Server, web.Request, re.Match[str]], Awaitable[web.StreamResponse]]
    error: Callable[[int, str], Document]


async def document_of(request: web.Request) -> Document:
    """Read a request's JSON."""
    try:
        document = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"The request's body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Refusal(400, "The request's body is not a JSON object.")
    return document


def _json(
    document: object, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return web.Response(
        body=orjson.dumps(document),
        status=status,
        headers=headers,
        content_type="application/json",
    )


def _refused(
    error: Callable[[int, str], Document], status: int, message: str
) -> web.StreamResponse:
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return _json(error(status, message), status, headers)


async def _cut(request: web.Request, whole: web.Response) -> web.StreamResponse:
    """Promise the whole body, send half of it and drop the connection."""
    body = whole.body
    assert isinstance(body, bytes)
    response = web.StreamResponse(headers=whole.headers)
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.abort()
    return response


async def _unsigned(request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG001
    response.headers["Server"] = "mock"


# -- routes -------------------------------------------------------------------------------------


def _in_format(path: str, form: Format) -> Route:
    async def answer(
        server: Server, request: web.Request, match: re.Match[str]
    ) -> web.StreamResponse:
        del match
        return await server.answer(request, form)

    return Route("POST", re.compile(path), path, answer, form.error)


def _computed(
    path: str,
    shown: str,
    make: Callable[[Document], Document],
    error: Callable[[int, str], Document],
) -> Route:
    async def answer(
        server: Server, request: web.Request, match: re.Match[str]
    ) -> web.StreamResponse:
        del server, match
        return _json(make(await document_of(request)))

    return Route("POST", re.compile(path), shown, answer, error)


async def _generated(
    server: Server, request: web.Request, match: re.Match[str]
) -> web.StreamResponse:
    streaming = match["method"] == "streamGenerateContent"
    as_events = request.query.get("alt") == "sse"
    form = gemini.generate(match["model"], streaming=streaming, as_events=as_events)
    return await server.answer(request, form)


async def _models(server: Server, request: web.Request, match: re.Match[str]) -> web.StreamResponse:
    """List the models, or show one. The three formats share the path, but not their fields."""
    del server
    name = match["model"]
    is_google = not _GOOGLE.isdisjoint(field.lower() for field in request.headers)
    if is_google or request.path.lstrip("/").startswith("v1beta/"):
        return _json(gemini.model(name) if name else gemini.models(MODELS))
    if "anthropic-version" in request.headers:
        return _json(anthropic.model(name) if name else anthropic.models(MODELS))
    return _json(openai.model(name) if name else openai.models(MODELS))


def _gemini_routes() -> Iterable[Route]:
    path = r"models/(?P<model>[^:]+):(?P<method>generateContent|streamGenerateContent)"
    shown = "models/MODEL:generateContent"
    yield Route("POST", re.compile(path), shown, _generated, gemini.error)
    yield _computed(
        r"models/[^:]+:countTokens",
        "models/MODEL:countTokens",
        gemini.count_tokens,
        gemini.error,
    )


ROUTES: Final = (
    _in_format("chat/completions", openai.CHAT),
    _in_format("completions", openai.COMPLETIONS),
    _in_format("embeddings", openai.EMBEDDINGS),
    _in_format("responses", responses.RESPONSES),
    _in_format("messages", anthropic.MESSAGES),
    _computed(
        "messages/count_tokens",
        "messages/count_tokens",
        anthropic.count_tokens,
        anthropic.error,
    ),
    *_gemini_routes(),
    Route("GET", re.compile(r"models(?:/(?P<model>[^:]+))?"), "models", _models, openai.error),
)
