from __future__ import annotations

from gateway.testing import RawCaller, ScriptedUpstream, exchange_bytes, says, sized

CUT_CHUNK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab"


def dies(raw, how):
    def script(visit):
        visit.read()
        visit.send(raw)
        visit.pause(0.05)  # a reset overtakes what was sent just before it
        getattr(visit, how)()

    return script


def test_a_whole_answer_is_complete():
    with ScriptedUpstream(says(sized(b"hello"))) as upstream, RawCaller(upstream.port) as caller:
        caller.request(b"POST", b"/x", (b"A", b"1"), body=b"{}")
        answer = caller.answer()

    assert (answer.version, answer.status, answer.reason) == (b"HTTP/1.1", 200, b"OK")
    assert (answer.body, answer.ending, answer.get(b"content-length")) == (
        b"hello",
        "complete",
        b"5",
    )
    assert upstream.requests[0].raw == (
        b"POST /x HTTP/1.1\r\nHost: localhost\r\nA: 1\r\nContent-Length: 2\r\n\r\n{}"
    )


def test_a_cut_answer_says_how_it_was_cut_and_keeps_what_came():
    for how, ending in (("fin", "fin"), ("reset", "reset")):
        with ScriptedUpstream(dies(CUT_CHUNK, how)) as upstream:
            with RawCaller(upstream.port) as caller:
                caller.request(b"GET", b"/")
                answer = caller.answer()

        assert (answer.ending, answer.body, bytes(answer.raw)) == (ending, b"ab", CUT_CHUNK)


def test_an_answer_to_head_and_interim_answers_are_understood():
    raw = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"
    with ScriptedUpstream(says(raw)) as upstream, RawCaller(upstream.port) as caller:
        caller.request(b"HEAD", b"/")
        answer = caller.answer(to=b"HEAD")

    assert (answer.status, answer.body, len(answer.interim)) == (200, b"", 1)


def test_everything_that_comes_back_to_raw_bytes_is_given():
    with ScriptedUpstream(dies(b"anything", "fin")) as upstream:
        assert exchange_bytes(upstream.port, b"GET / HTTP/1.1\r\n\r\n") == b"anything"
