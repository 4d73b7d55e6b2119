from __future__ import annotations

import asyncio

import pytest
import uvloop

from bench.framing import BY_CHUNKS, Body
from bench.upstream import Mock

BODY = b'{"model":"m","stream":true}'


def post(script: str | None, body: bytes = b"{}", path: str = "/v1/chat/completions") -> bytes:
    field = f"x-bench: {script}\r\n" if script is not None else ""
    head = f"POST {path} HTTP/1.1\r\nHost: mock\r\n{field}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def talk(*pieces: bytes, pause_s: float = 0.0) -> tuple[bytes, str]:
    """Give what the mock sends for these pieces, and how that ended."""

    async def main() -> tuple[bytes, str]:
        server = await Mock(asyncio.get_running_loop(), events=2).listen()
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        got, end = b"", "open"
        try:
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(pause_s)
            async with asyncio.timeout(0.15):
                while piece := await reader.read(65536):
                    got += piece
                end = "closed"
        except TimeoutError:
            end = "open"
        except ConnectionResetError:
            end = "reset"
        finally:
            writer.close()
            server.close()
            await asyncio.sleep(0.01)
        return got, end

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def test_a_scripted_body_has_its_size_and_the_connection_stays():
    got, end = talk(post("json=700"))
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"Content-Length: 700" in head
    assert (len(body), end) == (700, "open")


def test_requests_are_answered_in_turn_however_they_arrive():
    request = post("json=300")
    whole, _ = talk(request * 3)
    split, _ = talk(*(request[at : at + 40] for at in range(0, len(request), 40)), pause_s=0.002)
    assert whole == split * 3


def test_an_upload_in_chunks_is_read_to_its_end():
    head = b"POST / HTTP/1.1\r\nx-bench: json=300\r\nTransfer-Encoding: chunked\r\n\r\n"
    got, _ = talk(head + b"3\r\nabc\r\n", b"0\r\n\r\n" + post("json=300"), pause_s=0.01)
    assert got.count(b"HTTP/1.1 200 OK") == 2


def test_a_stream_has_its_events_and_a_proper_end():
    got, end = talk(post("sse=5 gap=2 size=400 shape=anthropic"))
    body = Body(BY_CHUNKS)
    payload, rest = body.feed(got.partition(b"\r\n\r\n")[2])
    assert (payload.count(b"@ns"), body.done, rest, end) == (5, True, b"", "open")


def test_a_pipelined_request_waits_for_the_end_of_the_stream():
    got, _ = talk(post("sse=3 gap=2") + post("json=300"))
    stream, _, after = got.partition(b"\r\n0\r\n\r\n")
    assert stream.count(b"@ns") == 3
    assert after.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Type: application/json\r\n" in after


def test_without_a_script_the_request_decides():
    streamed, _ = talk(post(None, BODY))
    plain, _ = talk(post(None))
    gemini, _ = talk(post(None, path="/v1beta/models/g:streamGenerateContent"))
    assert streamed.count(b"chat.completion.chunk") == 4
    assert b'"object":"chat.completion"' in plain
    assert gemini.count(b"candidates") == 3 + gemini.count(b"candidatesTokenCount")


def test_the_query_is_a_script_too():
    got, _ = talk(post(None, path="/v1/messages?x-bench=status=529"))
    assert b"HTTP/1.1 529 Internal Server Error" in got
    assert b"overloaded_error" in got


def test_a_script_that_makes_no_sense_is_refused():
    got, _ = talk(post("json=lots"))
    assert got.startswith(b"HTTP/1.1 400 Bad Request")


@pytest.mark.parametrize(
    ("fault", "expected"), [("cut", "closed"), ("reset", "reset"), ("stall", "open")]
)
def test_a_fault_comes_after_so_many_events_or_bytes(fault, expected):
    stream, how = talk(post(f"sse=9 gap=1 fault={fault} after=3"))
    assert (stream.count(b"@ns"), stream.endswith(b"0\r\n\r\n"), how) == (3, False, expected)
    body, how = talk(post(f"json=500 fault={fault} after=100"))
    assert (len(body.partition(b"\r\n\r\n")[2]), how) == (100, expected)
    none, how = talk(post(f"sse=9 fault={fault}"))
    assert (none.count(b"@ns"), b"event-stream" in none, how) == (0, True, expected)


def test_an_answer_can_be_made_to_wait():
    assert talk(post("json=300 wait=300"))[0] == b""
    assert talk(post("json=300 wait=20"))[0].startswith(b"HTTP/1.1 200 OK")
