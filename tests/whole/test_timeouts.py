"""Upstreams that cannot be reached, do not answer, or fall silent; and what a caller is told."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from gateway.testing import (
    RawAnswer,
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Visit,
    answers,
    chunk,
    head,
    running_gateway,
)

STREAM = head(200, (b"Content-Type", b"text/event-stream"), (b"Transfer-Encoding", b"chunked"))
TIMES = {"connect_timeout": "500ms", "first_byte_timeout": "700ms", "idle_timeout": "700ms"}
# A deadline holds to a tick of the gateway's clock, and the machine may be busy.
LATE_S = 1.0


@pytest.fixture(scope="module")
def black_hole() -> Iterator[int]:
    """Give a port whose connections are never accepted: its queue is full, further ones wait."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture(scope="module")
def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def gateway(upstream, black_hole, closed_port, tls) -> Iterator[RunningGateway]:
    with ScriptedUpstream(answers(), tls=tls) as secure:
        untrusted = {"base_url": secure.url}
        providers = {
            "openai": upstream.provider(**TIMES),
            "anthropic": upstream.provider(**TIMES),
            "google-ai-studio": upstream.provider(**TIMES),
            "groq": {"base_url": f"http://127.0.0.1:{black_hole}", **TIMES},
            "mistral": {"base_url": f"http://127.0.0.1:{closed_port}", **TIMES},
            "cohere": {"base_url": "http://no-such-host.invalid", **TIMES},
            "deepseek": {**untrusted, **TIMES},
            "grok": {"base_url": upstream.url.replace("http:", "https:"), **TIMES},
            "cerebras": {"base_url": secure.url.replace("https:", "http:"), **TIMES},
            "openrouter": secure.provider(
                base_url=secure.url.replace("localhost", "127.0.0.1"), **TIMES
            ),
            "ollama": {"base_url": "http://localhost", "socket": "/nowhere/at/all.sock", **TIMES},
        }
        with running_gateway({"providers": providers}) as gateway:
            yield gateway
            assert gateway.crashes == []


def ask(gateway: RunningGateway, path: bytes) -> tuple[RawAnswer, float]:
    began = time.monotonic()
    with RawCaller(gateway.port) as caller:
        caller.request(b"POST", path, (b"Content-Type", b"application/json"), body=b"{}")
        return caller.answer(), time.monotonic() - began


@pytest.mark.parametrize(
    ("provider", "least_s"),
    [
        (b"groq", 0.5),
        (b"mistral", 0.0),
        (b"cohere", 0.0),
        (b"deepseek", 0.0),
        (b"grok", 0.0),
        (b"cerebras", 0.0),
        (b"openrouter", 0.0),
        (b"ollama", 0.0),
    ],
    ids=[
        "a black hole",
        "refused",
        "no such name",
        "a certificate of nobody's",
        "TLS to a plain port",
        "plain to a TLS port",
        "a certificate of another name",
        "no such socket",
    ],
)
def test_no_connection_is_a_502_and_its_cause_is_in_the_log_only(gateway, provider, least_s):
    answer, took_s = ask(gateway, b"/" + provider + b"/v1/chat/completions")

    assert (answer.status, answer.is_complete) == (502, True)
    assert least_s <= took_s < least_s + LATE_S
    message = json.loads(answer.body)["error"]["message"]
    for secret in ("127.0.0.1", "localhost", ".invalid", "certificate", "Errno", "/nowhere"):
        assert secret not in message


def test_the_cause_is_in_the_log(gateway, closed_port):
    ask(gateway, b"/mistral/v1/chat/completions")
    patient_until = time.monotonic() + 2
    while str(closed_port) not in gateway.stderr and time.monotonic() < patient_until:
        time.sleep(0.02)

    assert str(closed_port) in gateway.stderr


def silent(visit: Visit) -> None:
    visit.read()
    visit.wait_gone()


def test_no_first_byte_is_a_504(upstream, gateway):
    upstream.script = silent
    upstream.forget()
    answer, took_s = ask(gateway, b"/openai/v1/chat/completions")

    assert (answer.status, answer.is_complete) == (504, True)
    assert 0.65 < took_s < 0.7 + LATE_S
    assert upstream.requests[0].connection.wait_gone(1)


def test_half_a_head_is_no_first_byte(upstream, gateway):
    def script(visit: Visit) -> None:
        visit.read()
        visit.send(b"HTTP/1.1 200 OK\r\n")
        visit.wait_gone()

    upstream.script = script
    answer, took_s = ask(gateway, b"/openai/v1/chat/completions")

    assert (answer.status, answer.is_complete) == (504, True)
    assert took_s < 2 * 0.7 + LATE_S


def test_a_stream_that_falls_silent_is_cut(upstream, gateway):
    def script(visit: Visit) -> None:
        visit.read()
        visit.send(STREAM + chunk(b"data: 1\n\n"))
        visit.wait_gone()

    upstream.script = script
    upstream.forget()
    answer, took_s = ask(gateway, b"/openai/v1/chat/completions")

    assert (answer.status, answer.body, answer.is_complete) == (200, b"data: 1\n\n", False)
    assert 0.65 < took_s < 0.7 + LATE_S
    assert upstream.requests[0].connection.wait_gone(1)


def test_comments_keep_a_stream_alive_and_nothing_limits_its_length(upstream, gateway):
    def script(visit: Visit) -> None:
        visit.read()
        visit.send(STREAM)
        for _ in range(8):
            visit.pause(0.3)
            visit.send(chunk(b": ping\n\n"))
        visit.send(chunk(b""))

    upstream.script = script
    answer, took_s = ask(gateway, b"/openai/v1/chat/completions")

    assert (answer.body, answer.is_complete) == (b": ping\n\n" * 8, True)
    assert took_s > 2.2


def test_the_first_byte_is_waited_for_from_the_requests_end(upstream, gateway):
    upstream.script = answers(b"late but well")
    with RawCaller(gateway.port) as caller:
        caller.request(b"POST", b"/openai/v1/files", (b"Content-Length", b"8"))
        for _ in range(8):
            time.sleep(0.2)
            caller.send(b"x")
        answer = caller.answer()

    assert (answer.status, answer.body) == (200, b"late but well")


def error_of_openai(answer: RawAnswer) -> str:
    error = json.loads(answer.body)["error"]
    assert {"message", "type", "param", "code"} <= error.keys()
    return str(error["message"])


def error_of_anthropic(answer: RawAnswer) -> str:
    document = json.loads(answer.body)
    assert document["type"] == "error"
    assert document["error"]["type"]
    return str(document["error"]["message"])


def error_of_gemini(answer: RawAnswer) -> str:
    error = json.loads(answer.body)["error"]
    assert error["code"] == answer.status
    assert error["status"] == "DEADLINE_EXCEEDED"
    return str(error["message"])


@pytest.mark.parametrize(
    ("path", "message_of"),
    [
        (b"/openai/v1/chat/completions", error_of_openai),
        (b"/openai/v1/responses", error_of_openai),
        (b"/anthropic/v1/messages", error_of_anthropic),
        (b"/google-ai-studio/v1beta/models/gemini-2.5-pro:generateContent", error_of_gemini),
    ],
)
def test_errors_have_the_shape_that_the_routes_sdk_expects(upstream, gateway, path, message_of):
    upstream.script = silent
    answer, _ = ask(gateway, path)

    assert answer.status == 504
    assert answer.get(b"content-type") == b"application/json"
    assert message_of(answer)
