"""What a request asks of the mock upstream, read from its head."""

from __future__ import annotations

from urllib.parse import unquote_plus

import orjson

from bench import shapes
from bench.framing import framing_of
from bench.script import Script, parse, shape_of


class Ask:
    """A request's head, understood."""

    __slots__ = ("answer", "framing", "script", "scripted", "target")

    def __init__(self, head: bytes) -> None:
        first = head[: head.find(b"\r\n")].split(b" ")
        self.target = first[1] if len(first) > 1 else b"/"
        self.framing = framing_of(head, 0)
        written = written_script(head, self.target)
        self.scripted = written is not None
        self.script = Script()
        self.answer: bytes | None = None
        try:
            self.settle(parse(written or "", shape=shape_of(self.target)))
        except ValueError as error:
            self.answer = refusal(str(error))

    def settle(self, script: Script) -> None:
        """Prepare the whole answer where it needs no clock and no fault."""
        self.script = script
        plain = not script.sse or script.status >= 400
        if plain and not script.wait and not script.fault:
            self.answer = shapes.answer(script)


def written_script(head: bytes, target: bytes) -> str | None:
    """The header wins over the query."""
    lower = head.lower()
    start = lower.find(b"\r\nx-bench:")
    if start >= 0:
        return head[start + 10 : head.find(b"\r\n", start + 2)].decode("latin-1")
    _, found, query = target.partition(b"x-bench=")
    return unquote_plus(query.split(b"&")[0].decode("latin-1")) if found else None


def refusal(message: str) -> bytes:
    body = orjson.dumps({"error": {"message": message, "type": "invalid_request_error"}})
    return shapes.JSON_HEAD % (400, b"Bad Request", b"", len(body)) + body


def wants_stream(ask: Ask, body: bytes) -> bool:
    """Where no script is given, do as the provider would."""
    if b":streamGenerateContent" in ask.target:
        return True
    return b'"stream":true' in body or b'"stream": true' in body
