"""An upstream in a process of its own that keeps a log of what reached it: `python -m ... FILE`.

It says its port on standard output. Of each request it appends its number (the field `x-n`) to the
file as soon as the head is there. The field `x-kind` says what it answers: `stream`, a chat
completion in events some milliseconds apart with its usage in the last one, or `whole`.
"""

from __future__ import annotations

import asyncio
import os
import sys

import orjson

EVENTS = 12
PAUSE_S = 0.02
INPUT_TOKENS = 10


def output_tokens(number: int) -> int:
    return number % 7 + 1


def counted(number: int) -> dict[str, object]:
    usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": output_tokens(number)}
    return {"id": "chatcmpl-1", "model": "m", "choices": [], "usage": usage}


def event(document: object) -> bytes:
    data = b"data: %b\n\n" % orjson.dumps(document)
    return b"%x\r\n%b\r\n" % (len(data), data)


def said(text: str | None, **more: object) -> bytes:
    delta = {"content": text} if text is not None else {}
    choice = {"index": 0, "delta": delta, "finish_reason": None if text is not None else "stop"}
    return event({"id": "chatcmpl-1", "model": "m", "choices": [choice], **more})


class Witness:
    def __init__(self, path: str) -> None:
        self.log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = {
                    name.lower(): value
                    for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n"))
                }
                number = int(fields[b"x-n"])
                os.write(self.log, b"%d\n" % number)
                await reader.readexactly(int(fields.get(b"content-length", b"0")))
                if fields[b"x-kind"] == b"whole":
                    await self.whole(number, writer)
                else:
                    await self.stream(number, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # it left, or was killed
        finally:
            writer.close()

    async def whole(self, number: int, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(EVENTS * PAUSE_S / 2)
        body = orjson.dumps(counted(number))
        fields = b"Content-Type: application/json\r\nContent-Length: %d" % len(body)
        writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (fields, body))
        await writer.drain()

    async def stream(self, number: int, writer: asyncio.StreamWriter) -> None:
        fields = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked"
        writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % fields)
        for n in range(EVENTS):
            writer.write(said(f"word {n} "))
            await writer.drain()
            await asyncio.sleep(PAUSE_S)
        writer.write(said(None))
        writer.write(event(counted(number)))
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        await writer.drain()


async def run(path: str) -> None:
    server = await asyncio.start_server(Witness(path).serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
