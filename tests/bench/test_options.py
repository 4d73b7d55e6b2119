from __future__ import annotations

import pytest

from bench.options import Options, body_of, request_of
from bench.script import Script

URL = "http://127.0.0.1:1/v1/chat/completions"


@pytest.mark.parametrize(("script", "word"), [(Script(), b"false"), (Script(sse=3), b"true")])
def test_the_body_asks_for_a_stream_when_the_script_does(script, word):
    head, _, body = request_of(Options(url=URL, script=script)).partition(b"\r\n\r\n")
    assert body == body_of(script)
    assert b'"stream":' + word in body
    assert b"Content-Length: %d" % len(body) in head


def test_a_body_of_its_own_is_sent_in_its_place():
    head, _, body = request_of(Options(url=URL, body=b"mine")).partition(b"\r\n\r\n")
    assert body == b"mine"
    assert b"Content-Length: 4" in head
