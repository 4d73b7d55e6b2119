"""What must not be kept is not kept, however it is written, and a bad rule holds up nobody long."""

from __future__ import annotations

import time
from collections.abc import Iterator

import orjson
import psutil
import pytest

from gateway import Secret
from plugins.logs.readable import words_of
from plugins.logs.records import Body
from plugins.logs.redacting import Failed, Redactor
from plugins.logs.rules import Rule

CARD = Rule(r"\b\d(?:[ -]?\d){12,18}\b", "[card]")
SSE = "text/event-stream"


@pytest.fixture
def redactor() -> Iterator[Redactor]:
    found = Redactor()
    yield found
    found.close()


def blanked(
    redactor: Redactor, data: bytes, *rules: Rule, kind: str = "", said: tuple[bytes, ...] = ()
) -> bytes:
    found, _ = redactor.body(Body(data, kind, len(data)), rules, said)
    assert found.data is not None
    return found.data


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1111",
        "4111111111111111",
        "\\u0034111 1111\\u00201111 111\\u0031",
        "4111 1111 \\\\ 4111 1111 1111 1111",
    ],
)
@pytest.mark.parametrize("shape", ['{"a":"%s"}', '{"a":["x","%s"', '{"a":"%s \\ud800"}', "%s"])
def test_a_rule_matches_however_it_is_escaped(redactor, shape, text):
    data = (shape % text).encode()
    found = blanked(redactor, data, CARD)
    assert b"[card]" in found
    assert b"1111 1111" not in found
    assert b"0034" not in found


def test_what_does_not_match_stays_as_it_was(redactor):
    for data in (b'{"a": "\\u00e9\\\\u0034 \\u0022",\n"n": 1.0}', b"\xff\x00 x", b"", b"{}"):
        assert blanked(redactor, data, CARD) == data
        assert blanked(redactor, data) == data


def test_a_number_in_two_events_is_one(redactor):
    pieces = [
        {"choices": [{"index": 0, "delta": {"content": sign}}]} for sign in "4111 1111 1111 1111"
    ]
    data = b"".join(b"data: " + orjson.dumps(piece) + b"\n\n" for piece in pieces)
    found = blanked(redactor, data, CARD, kind=SSE)
    assert found.count(b"data: ") == len(pieces)
    assert words_of(Body(found, SSE, 0)) == "card"


def test_known_secrets_and_credentials_are_blanked_without_a_rule(redactor):
    secret, said = Secret(b'sk-"quoted"-secret'), (b"caller-key",)
    found = blanked(redactor, secret.reveal() + b" and caller-key", said=said)
    assert found == b"*** and ***"
    data = orjson.dumps({"a": secret.reveal().decode(), "b": "caller-key"})
    found = blanked(redactor, data.replace(b"caller", b"\\u0063aller"), said=said)
    assert orjson.loads(found) == {"a": "***", "b": "***"}
    assert redactor._process is None


@pytest.mark.parametrize("seed", [b"a" * 64 + b"!", b"a" * 200_000])
def test_a_rule_that_takes_too_long_is_given_up_and_the_next_body_is_seen_to(redactor, seed):
    redactor.rules_s = 0.3
    began = time.monotonic()
    with pytest.raises(Failed, match="more than"):
        blanked(redactor, seed, Rule("(a+)+$(?<=b)"))
    assert time.monotonic() - began < 5
    redactor.rules_s = 5.0
    assert blanked(redactor, b"4111111111111111", CARD) == b"[card]"


def test_many_that_take_too_long_are_left_out_untried(redactor):
    redactor.rules_s = 0.5
    reasons = []
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(Failed) as told:
            blanked(redactor, b"a" * 64 + b"!", Rule("(a+)+$(?<=b)"))
        reasons.append(str(told.value))
    assert time.monotonic() - began < 20
    assert reasons[-1].endswith("of late")
    redactor.rules_s = 5.0
    assert blanked(redactor, b"4111111111111111", CARD) == b"[card]"


def test_a_process_that_was_killed_is_replaced(redactor):
    assert blanked(redactor, b"ab", Rule("a", "x")) == b"xb"
    process = redactor._process
    assert process is not None
    process.kill()
    process.wait(10)
    with pytest.raises(Failed, match="process"):
        blanked(redactor, b"ab", Rule("a", "x"))
    assert blanked(redactor, b"ab", Rule("a", "x")) == b"xb"


def test_the_process_ends_with_its_owner_and_knows_none_of_its_environment(redactor, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "secret")
    blanked(redactor, b"ab", Rule("a", "x"))
    assert redactor._process is not None
    child = psutil.Process(redactor._process.pid)
    assert "SOME_API_KEY" not in child.environ()
    redactor.close()
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
