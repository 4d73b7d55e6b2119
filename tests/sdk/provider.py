"""A provider that the SDKs can ask for trouble by the name of a model, and a gateway before it.

A model called `scene-NAME` plays that scene: `answers`, a status such as `429`, a way to break off
in the middle of an answer, or a shape of `tests/sdk/shapes.py`. The gateway leads to it under real
providers' names, whose keys it has; under `FORMAT-gone` nothing listens, and under `FORMAT-late`
it is waited for so shortly that `silent` is a timeout.
"""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import trustme

from gateway.testing import (
    RunningGateway,
    ScriptedUpstream,
    Visit,
    chunk,
    head,
    running_gateway,
    sized,
    streams,
)
from tests.sdk.formats import Format, format_of
from tests.sdk.shapes import SHAPES, play_shape

# The providers' usual variables, and the keys that the gateway gets in them.
KEYS: Final = {
    "OPENAI_API_KEY": "sk-of-the-operator",
    "ANTHROPIC_API_KEY": "sk-ant-of-the-operator",
    "GEMINI_API_KEY": "AI-of-the-operator",
    "MISTRAL_API_KEY": "mistral-of-the-operator",
    "CO_API_KEY": "co-of-the-operator",
    "GROQ_API_KEY": "gsk-of-the-operator",
}
LATE: Final = {"first_byte_timeout": "300ms"}
# Statuses that the provider itself sends.
STATUSES: Final = (401, 404, 429, 500)
# Ways to break off: between two events, in the middle of one, with a reset, and with a close where
# HTTP needs no end marker, so that only the format can tell.
CUTS: Final = ("fin", "torn", "reset", "unframed")
# A reset overtakes what was sent just before it.
BEFORE_RESET_S: Final = 0.2

_SCENE: Final = re.compile(rb"scene-(\w+)")
_JSON: Final = (b"Content-Type", b"application/json")
_EVENTS: Final = (b"Content-Type", b"text/event-stream")
_CHUNKED: Final = (b"Transfer-Encoding", b"chunked")
_CLOSE: Final = (b"Connection", b"close")


def play(visit: Visit) -> None:
    """Play the scene that a request asks for."""
    body = visit.read()
    request = visit.request
    path, _, query = request.target.partition(b"?")
    found = _SCENE.search(request.target + body)
    assert found is not None, request.target
    scene = found[1].decode()
    form = format_of(path)
    streaming = b'"stream":true' in body.replace(b" ", b"") or b"alt=sse" in query
    if scene == "silent":
        visit.wait_gone()
    elif scene.isdecimal():
        visit.send(sized(form.error(int(scene)), _JSON, status=int(scene)))
    elif scene == "answers":
        _answer(visit, form, streaming=streaming)
    elif scene in SHAPES:
        play_shape(visit, form, scene)
    elif streaming:
        _cut_stream(visit, form, scene)
    else:
        _cut_whole(visit, form, scene)


def _answer(visit: Visit, form: Format, *, streaming: bool) -> None:
    if streaming:
        streams(form.events)(visit)
    else:
        visit.send(sized(form.whole, _JSON))


def _cut_stream(visit: Visit, form: Format, scene: str) -> None:
    """Send two pieces of the text, and break off."""
    whole, rest = form.events[: form.shown], form.events[form.shown]
    if scene == "unframed":
        visit.send(head(200, _EVENTS, _CLOSE), *whole)
    else:
        visit.send(head(200, _EVENTS, _CHUNKED), *map(chunk, whole))
    if scene == "torn":
        visit.send(chunk(rest[: len(rest) // 2]))
    _leave(visit, scene)


def _cut_whole(visit: Visit, form: Format, scene: str) -> None:
    answer = sized(form.whole, _JSON)
    visit.send(answer[: len(answer) - len(form.whole) // 2])
    _leave(visit, scene)


def _leave(visit: Visit, scene: str) -> None:
    if scene == "reset":
        visit.pause(BEFORE_RESET_S)
        visit.reset()
    else:
        visit.fin()


@contextmanager
def scripted_gateway(upstream: ScriptedUpstream) -> Iterator[RunningGateway]:
    """Run a gateway that leads to the scripted provider."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, so that nobody gets the port, and not listening
        gone = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        providers: dict[str, Any] = {
            "openai": upstream.provider(base_url=f"{upstream.url}/v1"),
            "anthropic": upstream.provider(),
            "google-ai-studio": upstream.provider(),
            "mistral": upstream.provider(base_url=f"{upstream.url}/mistral"),
            "cohere": upstream.provider(base_url=f"{upstream.url}/cohere"),
            "groq": upstream.provider(base_url=f"{upstream.url}/openai/v1"),
        }
        for dialect in ("openai", "anthropic", "gemini"):
            providers[f"{dialect}-gone"] = {"base_url": gone, "dialect": dialect}
            providers[f"{dialect}-late"] = upstream.provider(dialect=dialect, **LATE)
        config = {"enabled": ["request_id", "metadata", "credentials"], "providers": providers}
        with running_gateway(config, env=KEYS) as gateway:
            yield gateway
            assert "Traceback" not in gateway.stderr


@contextmanager
def few_certificates() -> Iterator[None]:
    """Have the SDKs trust one authority, which nobody uses here: no story speaks TLS.

    Most of them read all of the system's for every client that is made, and we make thousands.
    """
    before = os.environ.get("SSL_CERT_FILE")
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        trustme.CA().cert_pem.write_to_path(file.name)
        os.environ["SSL_CERT_FILE"] = file.name
        try:
            yield
        finally:
            os.environ.pop("SSL_CERT_FILE")
            if before is not None:
                os.environ["SSL_CERT_FILE"] = before
