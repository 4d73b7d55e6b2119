"""Who the caller is, where proxies say so."""

from __future__ import annotations

import time

import pytest

from gateway.config import Config, Server
from gateway.forwarded import Trust, TrustingScreen, screen_of
from gateway.testing import exchange

TRUST = Trust(["10.0.0.0/8", "2001:db8:1::/48", "unix"])
PROXY = "10.0.0.1:4711"


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (PROXY, True),
        ("11.0.0.1:4711", False),
        ("::ffff:10.0.0.1:4711", True),  # as a socket for both families shows it
        ("2001:db8:1::5:4711", True),
        ("2001:db8:2::5:4711", False),
        ("unix", True),
        ("call", False),
    ],
)
def test_only_the_listed_networks_are_trusted(peer, expected):
    assert TRUST.has(peer) is expected
    assert TRUST.has(peer) is expected  # remembered


def test_the_unix_socket_is_trusted_by_name_only():
    assert Trust(["0.0.0.0/0"]).has("unix") is False


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"203.0.113.7"], "203.0.113.7"),
        ([b"203.0.113.7, 10.0.0.9"], "203.0.113.7"),
        ([b"1.2.3.4, 203.0.113.7, 10.0.0.9"], "203.0.113.7"),  # 1.2.3.4 is the caller's own word
        ([b"1.2.3.4", b"203.0.113.7", b"10.0.0.9"], "203.0.113.7"),
        ([b"203.0.113.7:80"], "203.0.113.7"),
        ([b"[2001:db8::7]:80"], "2001:db8::7"),
        ([b"2001:db8::7"], "2001:db8::7"),
        ([b"10.0.0.8,10.0.0.9"], "10.0.0.8"),  # all are trusted: the first of them asks
        ([b"203.0.113.7, unknown"], PROXY),
        ([b"203.0.113.7, unknown, 10.0.0.9"], "10.0.0.9"),
        ([b"203.0.113.7, "], PROXY),
        ([b"\xff\xfe"], PROXY),
    ],
)
def test_the_rightmost_address_that_is_not_trusted_is_the_caller(values, expected):
    assert TRUST.caller(PROXY, values, []) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"for=203.0.113.7"], "203.0.113.7"),
        ([b"For=203.0.113.7;proto=https;by=10.0.0.1"], "203.0.113.7"),
        ([b'for="[2001:db8::7]:4711"'], "2001:db8::7"),
        ([b'for=1.2.3.4, for="203.0.113.7:80";proto=http, for=10.0.0.9'], "203.0.113.7"),
        ([b"for=1.2.3.4", b"for=203.0.113.7"], "203.0.113.7"),
        ([b'for=203.0.113.7;by="a,b;for=1.2.3.4"'], "203.0.113.7"),
        ([b'for=203.0.113.7;by="\\",for=1.2.3.4"'], "203.0.113.7"),
        ([b"for=_hidden"], PROXY),
        ([b"for=203.0.113.7, proto=https"], PROXY),
        ([b'for=203.0.113.7, "for=1.2.3.4'], PROXY),
        ([b"for 203.0.113.7"], PROXY),
        ([b""], PROXY),
    ],
)
def test_forwarded_is_read_as_it_is_written(values, expected):
    assert TRUST.caller(PROXY, [], values) == expected


def test_two_fields_that_differ_are_both_disbelieved():
    same, other = [b"for=203.0.113.7"], [b"for=1.2.3.4"]
    assert TRUST.caller(PROXY, [b"203.0.113.7"], same) == "203.0.113.7"
    assert TRUST.caller(PROXY, [b"203.0.113.7"], other) == PROXY


def test_nobody_else_is_believed():
    assert TRUST.caller("203.0.113.9:1", [b"1.2.3.4"], [b"for=1.2.3.4"]) == "203.0.113.9:1"


def test_without_trusted_proxies_the_screen_is_the_plain_one():
    assert not isinstance(screen_of(Config()), TrustingScreen)


def test_the_fields_go_up_as_they_came():
    config = Config(server=Server(trusted_proxies=("10.0.0.0/8",)))
    fields = [(b"X-Forwarded-For", b"203.0.113.7"), (b"A", b"b")]
    asked = exchange(headers=fields)
    asked.peer = PROXY

    screened = screen_of(config).pass_over(asked)

    assert asked.peer == "203.0.113.7"
    assert screened.upward == fields


def test_the_time_is_linear_in_the_spaces_between():
    def seconds(size: int) -> float:
        written = [b"for=203.0.113.7;" + b" " * size + b'"']
        started = time.process_time()
        assert TRUST.caller(PROXY, [], written) == PROXY
        return time.process_time() - started

    assert seconds(32_000) < 100 * (min(seconds(1_000) for _ in range(3)) + 0.001)
