"""Each kind of answer has its watcher, by status, type and method."""

from __future__ import annotations

import pytest

from gateway import Headers
from gateway.shapes import Passed
from gateway.testing import attempt_of, exchange
from plugins.usage.choosing import kind_of, watcher_of
from plugins.usage.later import Results
from plugins.usage.session import Session
from plugins.usage.watching import Events, Lines, Messages, Watcher
from plugins.usage.whole import Whole


def watcher(
    kind: bytes | None, status: int = 200, method: bytes = b"POST", path: bytes = b"v1/x"
) -> Watcher | None:
    made = exchange(method, path)
    attempt = attempt_of(made)
    fields = [] if kind is None else [(b"Content-Type", kind)]
    attempt.answered(status, Passed.only(fields))
    return watcher_of(made, attempt)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (b"application/json", Whole),
        (b"Application/JSON; charset=utf-8", Whole),
        (b"application/problem+json", Whole),
        (b"text/event-stream", Events),
        (b"text/event-stream; charset=utf-8", Events),
        (b"application/vnd.amazon.eventstream", Messages),
        (b"application/x-ndjson", Lines),
        (b"application/jsonl", Lines),
    ],
)
def test_a_type_has_its_watcher(kind, expected):
    assert type(watcher(kind)) is expected


@pytest.mark.parametrize("kind", [b"audio/mpeg", b"text/html", b"", None])
def test_what_holds_no_counts_is_not_watched(kind):
    assert watcher(kind) is None


@pytest.mark.parametrize("status", [400, 404, 429, 500, 529])
def test_a_refusal_is_not_watched(status):
    assert watcher(b"application/json", status) is None


def test_an_attempt_without_an_answer_is_not_watched():
    made = exchange()
    assert watcher_of(made, attempt_of(made)) is None


def test_a_socket_is_a_session():
    assert type(watcher(None, 101, b"GET")) is Session


def test_what_is_fetched_is_read_if_it_promises_counts_and_results_line_by_line():
    fetched = watcher(b"application/json", method=b"GET")
    assert isinstance(fetched, Whole)
    fetched(b'{"model": "m"}')
    fetched.end()
    assert fetched.usage.model is None  # a POST's would have been decoded for it

    results = watcher(b"application/json", method=b"GET", path=b"v1/files/f/content")
    assert type(results) is Results
    assert type(watcher(b"application/json", path=b"v1/files/f/content")) is Whole


def test_a_type_is_told_without_its_parameters_and_in_small_letters():
    made = exchange()
    attempt = attempt_of(made)
    assert kind_of(attempt) == b""
    attempt.answered(200, Passed.only(Headers([(b"content-type", b" Text/HTML ;a=b")]).items))
    assert kind_of(attempt) == b"text/html"
