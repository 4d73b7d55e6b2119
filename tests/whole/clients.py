"""Callers of every kind, each of which tells what it got and whether it could see a cut."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import httpx

from gateway.testing import BrokenOff, RawCaller

BODY = b'{"stream":true}'
# What curl says when an answer breaks off: 18 for a part of a file, 56 for a failure to receive.
CURL_CUT = (18, 56)


@dataclass(frozen=True)
class Got:
    """status: 0 if no head came. is_whole: whether the client took the answer for whole."""

    status: int
    body: bytes
    is_whole: bool


def by_httpx(url: str) -> Got:
    status, body = 0, bytearray()
    try:
        with httpx.stream("POST", url, content=BODY, timeout=10, trust_env=False) as response:
            status = response.status_code
            for piece in response.iter_raw():
                body += piece
    except (httpx.RemoteProtocolError, httpx.ReadError):
        return Got(status, bytes(body), is_whole=False)
    return Got(status, bytes(body), is_whole=True)


def by_aiohttp(url: str) -> Got:
    return asyncio.run(_aiohttp(url))


async def _aiohttp(url: str) -> Got:
    status, body = 0, bytearray()
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        try:
            async with session.post(url, data=BODY) as response:
                status = response.status
                async for piece in response.content.iter_any():
                    body += piece
        except aiohttp.ClientError:
            return Got(status, bytes(body), is_whole=False)
    return Got(status, bytes(body), is_whole=True)


def by_curl(url: str) -> Got:
    return _curl(url, "--http1.1")


def by_old_curl(url: str) -> Got:
    return _curl(url, "--http1.0")


def _curl(url: str, version: str) -> Got:
    words = ["curl", "--silent", "--no-buffer", version, "--max-time", "10", "--noproxy", "*"]
    words += ["--data-binary", BODY.decode(), "--write-out", "%{stderr}%{http_code}", url]
    done = subprocess.run(words, capture_output=True, check=False)
    assert done.returncode in (0, *CURL_CUT), done
    return Got(int(done.stderr), done.stdout, is_whole=done.returncode == 0)


def by_raw_socket(url: str) -> Got:
    return _raw(url, b"HTTP/1.1\r\nHost: localhost")


def by_old_raw_socket(url: str) -> Got:
    return _raw(url, b"HTTP/1.0")


def _raw(url: str, version: bytes) -> Got:
    _, _, rest = url.partition("://127.0.0.1:")
    port, _, path = rest.partition("/")
    with RawCaller(int(port)) as caller:
        length = b"Content-Length: %d\r\n\r\n" % len(BODY)
        caller.send(b"POST /%b %b\r\n%b%b" % (path.encode(), version, length, BODY))
        try:
            answer = caller.answer()
        except BrokenOff:
            return Got(0, b"", is_whole=False)
    assert answer.ending != "silence", answer.raw
    return Got(answer.status, answer.body, answer.is_complete)


CLIENTS: tuple[Callable[[str], Got], ...] = (
    by_httpx,
    by_aiohttp,
    by_curl,
    by_old_curl,
    by_raw_socket,
    by_old_raw_socket,
)
