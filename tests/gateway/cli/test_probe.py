"""The probe's own edges; what it is used for is told beside the commands."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl

import pytest

from gateway.cli import probe
from gateway.testing import ScriptedUpstream, answers, says


def fetch(port: int, target: bytes = b"/x") -> probe.Answer:
    async def fetched() -> probe.Answer:
        async with asyncio.timeout(5):
            return await probe.fetch("localhost", port, target)

    return asyncio.run(fetched())


def test_an_answer_is_status_fields_and_body():
    with ScriptedUpstream(answers(b"hello", (b"X-One", b"1"), status=418)) as upstream:
        answer = fetch(upstream.port)
        (request,) = upstream.requests
        host = f"localhost:{upstream.port}".encode()

    assert (answer.status, answer.fields["x-one"], answer.body) == (418, "1", b"hello")
    assert (request.method, request.target) == (b"GET", b"/x")
    assert [v for name, v in request.fields if name.lower() == b"host"] == [host]


def test_a_body_is_read_up_to_a_bound():
    body = b"x" * (probe.BODY_BYTES_MAX + 1000)
    with ScriptedUpstream(answers(body)) as upstream:
        assert len(fetch(upstream.port).body) == probe.BODY_BYTES_MAX


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1\r\n\r\n", "does not speak HTTP"),
        (b"x" * (probe.HEAD_BYTES_MAX + 10), "does not speak HTTP"),
    ],
)
def test_what_is_no_answer_is_an_error_in_words(raw, words):
    with ScriptedUpstream(says(raw)) as upstream, pytest.raises(probe.ProbeError, match=words):
        fetch(upstream.port)


@pytest.mark.parametrize(
    ("sent", "words"), [(b"", "without an answer"), (b"HTTP/1.1 200", "in its head")]
)
def test_a_connection_that_ends_too_early_is_an_error_in_words(sent, words):
    def ends(visit):
        visit.read()
        visit.send(sent)
        visit.fin()

    with ScriptedUpstream(ends) as upstream, pytest.raises(probe.ProbeError, match=words):
        fetch(upstream.port)


def test_a_name_is_looked_up_or_an_error():
    found = asyncio.run(probe.addresses("localhost", 80))
    assert {address[:2] for *_, address in found} & {("127.0.0.1", 80), ("::1", 80)}
    with pytest.raises(OSError, match="is no host name"):
        asyncio.run(probe.addresses("a" * 70 + ".example", 80))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "no answer in time"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "name or service not known"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] x"), "TLS failed: "),
        (probe.ProbeError("odd"), "odd"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_reasons_are_plain_words(error, words):
    assert probe.reason(error).startswith(words)
