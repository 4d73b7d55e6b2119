from __future__ import annotations

from gateway.screened import Screened
from gateway.shapes import Passed


def test_a_head_that_says_nothing_has_no_body_and_passes_nothing():
    found = Screened()
    assert (found.size, found.is_chunked, found.has_length, found.expects) == (
        0,
        False,
        False,
        False,
    )
    assert (found.host, found.keep, found.upward) == (b"", True, [])


def test_what_may_go_up_is_what_passed():
    fields = [(b"X-A", b"1"), (b"X-A", b"2")]
    found = Screened(b"localhost", Passed.only(fields))
    assert (found.host, found.upward) == (b"localhost", fields)
