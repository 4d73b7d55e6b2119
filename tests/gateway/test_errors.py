"""Each error says whose fault it is and what may be said about it."""

from __future__ import annotations

import pytest

from gateway import CallerFault, GatewayError, OwnFault, StartError, UpstreamFault


@pytest.mark.parametrize(
    ("kind", "status", "code", "retryable"),
    [
        (GatewayError, 500, "internal_error", False),
        (CallerFault, 400, "invalid_request", False),
        (UpstreamFault, 502, "upstream_error", True),
        (OwnFault, 500, "internal_error", False),
    ],
)
def test_each_kind_has_its_defaults(kind, status, code, retryable):
    error = kind("A sentence.")

    assert isinstance(error, GatewayError)
    assert (error.status, error.code, error.retryable) == (status, code, retryable)
    assert (error.message, error.detail, error.headers) == ("A sentence.", "", ())
    assert str(error) == "A sentence."


@pytest.mark.parametrize("kind", [GatewayError, CallerFault, UpstreamFault, OwnFault])
def test_each_default_can_be_replaced_and_stays_for_others(kind):
    before = (kind.status, kind.code, kind.retryable)
    fields = ((b"Retry-After", b"1"),)
    error = kind(
        "x", status=429, code="slow_down", detail="why", retryable=not before[2], headers=fields
    )

    assert (error.status, error.code, error.retryable) == (429, "slow_down", not before[2])
    assert (error.detail, error.headers) == ("why", fields)
    assert (kind.status, kind.code, kind.retryable) == before


def test_the_detail_is_the_operators_and_not_in_the_text():
    assert "10.0.0.7" not in str(UpstreamFault("No answer.", detail="10.0.0.7:443 refused"))


def test_an_upstream_counts_as_reached_unless_it_is_known_not_to_be():
    assert UpstreamFault("x").reached
    assert not UpstreamFault("x", reached=False, status=504).reached


def test_a_start_error_is_no_answer():
    assert not issubclass(StartError, GatewayError)
