"""Answers in the providers' own formats, made once and sent many times.

An event is prepared as the bytes before and after its stamp, so that sending one costs a format of
nineteen digits and a join. The stamp is the monotonic clock in nanoseconds; it stands in the text
of the delta, as `@ns` and the digits, where every relay passes it on and a client of the same
machine can read off how long the event was under way.
"""

from __future__ import annotations

import functools

import msgspec
import orjson

from bench.script import Script, Shape

MARK = b"@ns"
DIGITS = 19
STAMP = b"@ns%019d"
BLANK = STAMP % 0

# Providers date their answers, and a proxy dates those without. Which day it is says nothing.
DATE = b"Date: Sat, 28 Nov 2026 00:00:00 GMT\r\n"
JSON_HEAD = (
    b"HTTP/1.1 %d %b\r\n" + DATE + b"Content-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
)
SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Type: text/event-stream\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"
REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 429: b"Too Many Requests"}
ERROR_TYPES = {400: "invalid_request_error", 429: "rate_limit_error", 529: "overloaded_error"}


class Strip(msgspec.Struct, frozen=True):
    """A stream ready to be sent: opening, then `before` + digits + `after` per event, then the
    closing.
    """

    opening: bytes
    before: bytes
    after: bytes
    closing: bytes

    def event(self, now_ns: int) -> bytes:
        return b"%b%019d%b" % (self.before, now_ns, self.after)


def answer(script: Script) -> bytes:
    """A whole answer that is not a stream, head and body."""
    body = error_body(script) if script.status >= 400 else json_body(script.shape, script.json)
    retry = b"Retry-After: 1\r\n" if script.status == 429 else b""
    reason = REASONS.get(script.status, b"Internal Server Error" if script.status >= 500 else b"-")
    return JSON_HEAD % (script.status, reason, retry, len(body)) + body


def json_body(shape: Shape, size: int) -> bytes:
    """A whole completion of exactly `size` bytes, or the smallest there is of that shape."""
    return orjson.dumps(WHOLE[shape](text_of(shape, size)))


def text_of(shape: Shape, size: int) -> str:
    """What the model says in a completion of `size` bytes."""
    return filler(size - len(orjson.dumps(WHOLE[shape](""))))


def error_body(script: Script) -> bytes:
    text = "scripted by the bench"
    kind = ERROR_TYPES.get(script.status, "api_error")
    if script.shape == "anthropic":
        return orjson.dumps({"type": "error", "error": {"type": kind, "message": text}})
    if script.shape == "gemini":
        status = "RESOURCE_EXHAUSTED" if script.status == 429 else "INTERNAL"
        return orjson.dumps({"error": {"code": script.status, "message": text, "status": status}})
    return orjson.dumps({"error": {"message": text, "type": kind, "param": None, "code": None}})


@functools.lru_cache(maxsize=64)
def strip(shape: Shape, size: int) -> Strip:
    """Prepare a stream whose events are `size` bytes each, chunk framing not counted."""
    opening, closing = FRAMES[shape]
    delta = DELTA[shape]
    bare = len(delta(BLANK.decode()))
    event = delta(BLANK.decode() + filler(size - bare))
    before, after = event.split(BLANK)
    length = b"%x\r\n" % len(event)
    return Strip(
        b"".join(map(chunk, opening)),
        length + before + MARK,
        after + b"\r\n",
        b"".join(map(chunk, closing)) + LAST_CHUNK,
    )


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def filler(size: int) -> str:
    """Text of so many bytes that needs no escapes and holds no stamp's mark."""
    return (" lorem ipsum dolor" * (max(size, 0) // 18 + 1))[: max(size, 0)]


def event(document: object, name: str = "", end: bytes = b"\n") -> bytes:
    first = b"event: " + name.encode() + end if name else b""
    return first + b"data: " + orjson.dumps(document) + end + end


def openai_whole(text: str) -> object:
    return {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 80, "total_tokens": 100},
    }


def openai_part(delta: dict[str, str], finish: str | None = None) -> bytes:
    return event(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "bench",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
    )


def anthropic_whole(text: str, stop: str | None = "end_turn") -> dict[str, object]:
    return {
        "id": "msg_bench",
        "type": "message",
        "role": "assistant",
        "model": "bench",
        "content": [{"type": "text", "text": text}] if stop else [],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 20, "output_tokens": 80},
    }


def anthropic_part(kind: str, **fields: object) -> bytes:
    return event({"type": kind, **fields}, kind)


def gemini_whole(text: str, finish: str | None = "STOP") -> object:
    candidate: dict[str, object] = {
        "content": {"parts": [{"text": text}], "role": "model"},
        "index": 0,
    }
    document: dict[str, object] = {"candidates": [candidate], "modelVersion": "bench"}
    if finish:
        candidate["finishReason"] = finish
        document["usageMetadata"] = {
            "promptTokenCount": 20,
            "candidatesTokenCount": 80,
            "totalTokenCount": 100,
        }
    return document


def gemini_part(text: str, finish: str | None = None) -> bytes:
    """Google ends its lines with CRLF in streams, which a relay must not mistake for the end of a
    head.
    """
    return event(gemini_whole(text, finish), end=b"\r\n")


WHOLE = {"openai": openai_whole, "anthropic": anthropic_whole, "gemini": gemini_whole}
DELTA = {
    "openai": lambda text: openai_part({"content": text}),
    "anthropic": lambda text: anthropic_part(
        "content_block_delta", index=0, delta={"type": "text_delta", "text": text}
    ),
    "gemini": gemini_part,
}
# What comes before the first delta and after the last.
FRAMES: dict[str, tuple[list[bytes], list[bytes]]] = {
    "openai": (
        [openai_part({"role": "assistant", "content": ""})],
        [openai_part({}, "stop"), b"data: [DONE]\n\n"],
    ),
    "anthropic": (
        [
            anthropic_part("message_start", message=anthropic_whole("", None)),
            anthropic_part(
                "content_block_start", index=0, content_block={"type": "text", "text": ""}
            ),
        ],
        [
            anthropic_part("content_block_stop", index=0),
            anthropic_part(
                "message_delta",
                delta={"stop_reason": "end_turn", "stop_sequence": None},
                usage={"output_tokens": 80},
            ),
            anthropic_part("message_stop"),
        ],
    ),
    "gemini": ([], [gemini_part("", "STOP")]),
}
