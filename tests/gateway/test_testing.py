"""The kit's own door: what its docstring shows works, and what it names is there."""

from __future__ import annotations

import gateway.testing as kit


def test_each_name_on_the_kits_door_is_documented_or_plain_data():
    undocumented = [
        name
        for name in kit.__all__
        if not (getattr(kit, name).__doc__ or "").strip() and name != "Script"
    ]

    assert undocumented == []


def test_a_scripted_upstream_and_a_raw_caller_speak_to_each_other():
    with (
        kit.ScriptedUpstream(kit.streams([b"data: 1\n\n"])) as upstream,
        kit.RawCaller(upstream.port) as caller,
    ):
        caller.request(b"GET", b"/v1/models")
        answer = caller.answer()

    assert answer.body == b"data: 1\n\n"
    assert answer.is_complete
