from __future__ import annotations

from gateway.testing import RawCaller, ScriptedUpstream, answers, head, says, sized, streams


def ask(script):
    with ScriptedUpstream(script) as upstream, RawCaller(upstream.port) as caller:
        caller.request(b"POST", b"/", body=b"{}")
        return caller.answer()


def test_an_answer_has_its_length_and_says_that_it_is_json():
    answer = ask(answers(b'{"a":1}', status=429))

    assert (answer.status, answer.body) == (429, b'{"a":1}')
    assert answer.get(b"content-type") == b"application/json"


def test_a_stream_comes_in_chunks_some_time_apart():
    answer = ask(streams([b"data: 1\n\n", b"data: 2\n\n"], pause_s=0.05))

    assert answer.pieces == [b"data: 1\n\n", b"data: 2\n\n"]
    assert answer.arrived_ns[1] - answer.arrived_ns[0] > 20_000_000


def test_what_is_said_is_said_exactly():
    assert bytes(ask(says(sized(b"x", (b"A", b"1")))).raw) == (
        b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 1\r\n\r\nx"
    )
    assert head(404) == b"HTTP/1.1 404 Not Found\r\n\r\n"
