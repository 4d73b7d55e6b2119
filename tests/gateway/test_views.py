from __future__ import annotations

import pytest

from gateway.errors import CallerFault
from gateway.views import SKIP, Skip, nowhere


@pytest.mark.parametrize("skip", [None, SKIP])
def test_without_a_reason_there_is_no_target(skip):
    fault = nowhere(skip, "3 attempts")
    assert (fault.status, fault.code, fault.detail) == (503, "no_target", "3 attempts")


def test_the_last_reason_is_what_is_told():
    why = CallerFault("no money", status=402, code="no_money")
    assert nowhere(Skip(why)) is why
