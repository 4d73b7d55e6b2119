"""Of an entry what sums and bills want is decoded, and a line that is none is told."""

from __future__ import annotations

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.ledger.facts import Facts, Used, facts_in

more = st.dictionaries(
    st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x4FFF)), st.none()
)


@given(more, more)
def test_whatever_else_an_entry_says_its_facts_are_the_same(outer: dict, inner: dict) -> None:
    attempt = {**inner, "n": 1, "provider": "openai", "output_text": 7, "estimated": True}
    entry = {**outer, "id": "0" * 32, "team": "red", "attempts": [attempt]}

    used = Used(n=1, provider="openai", output_text=7, estimated=True)
    assert facts_in(orjson.dumps(entry)) == Facts(id="0" * 32, team="red", attempts=(used,))


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'{"id":7}', b'{"id":"x","attempts":7}', b"{"])
def test_what_is_no_entry_is_told(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        facts_in(line)
