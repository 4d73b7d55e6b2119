"""What a run of the load generator is told, and the request that follows from it."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from bench.script import Script, line, shape_of

BODY = (
    b'{"model":"bench-1","messages":[{"role":"user","content":"Say something about the weather '
    b'in the north."}],"temperature":0.7,"max_tokens":100,"stream":false}'
)
# Gateways that take a body apart go by it, and not by the mock's script.
STREAM_BODY = BODY.replace(b'"stream":false', b'"stream":true')
# What a caller sends with each request; the key is as long as real ones are.
FIELDS = {
    "User-Agent": "bench/1",
    "Accept": "application/json",
    "Authorization": "Bearer sk-bench-0123456789abcdef0123456789abcdef0123456789abcdef",
    "Content-Type": "application/json",
}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, how much of it, and whose costs to count."""

    url: str
    socket: str = ""
    script: Script = Script()
    connections: int = 32
    # Requests (or streams) per second; 0 is a closed loop.
    rate: float = 0.0
    seconds: float = 3.0
    warm_s: float = 0.5
    # New connections per second, so that thousands do not meet one backlog.
    ramp: float = 2000.0
    pid: int | None = None
    wrk: bool = False
    fields: dict[str, str] = {}
    # Empty for the usual one.
    body: bytes = b""
    # Whether answers are the mock's own bytes; else they must be no shorter than its text.
    exact: bool = True


def body_of(script: Script) -> bytes:
    return STREAM_BODY if script.sse else BODY


def fields_of(options: Options) -> dict[str, str]:
    return {**FIELDS, "x-bench": line(options.script) or "json=600", **options.fields}


def request_of(options: Options) -> bytes:
    parts = urlsplit(options.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    body = options.body or body_of(options.script)
    fields = {"Host": parts.netloc, **fields_of(options), "Content-Length": str(len(body))}
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def url_of(base: str, script: Script) -> str:
    """The path that a caller of the script's shape would use."""
    path = {
        "openai": "/v1/chat/completions",
        "anthropic": "/v1/messages",
        "gemini": "/v1beta/models/bench:generateContent",
    }[script.shape]
    assert shape_of(path.encode()) == script.shape
    return base.rstrip("/") + path
