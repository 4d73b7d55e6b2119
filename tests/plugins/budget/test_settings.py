"""What cannot be a configuration is named, with the way out."""

from __future__ import annotations

import pytest

from plugins.budget import Config, Plugin
from plugins.budget.rules import Rule
from plugins.budget.sharing import Sharing


def rule(limit: str) -> Rule:
    return Rule(name="r", scope="gateway", limit=limit)


@pytest.mark.parametrize(
    ("store", "fault"),
    [
        ("disk", 'store: wanted such as "redis://127.0.0.1:6379/0"'),
        ("redis://user:secret@host/0", "store: an address holds no password"),
    ],
)
def test_a_store_has_to_be_an_address(store, fault):
    with pytest.raises(ValueError, match=fault) as caught:
        Config(store=store)
    assert 'or "memory"' in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_shared_store_counts_as_far_as_it_is_exact():
    Config(rules=(rule("10M USD/year"),))
    Config(rules=(rule("9M USD/year"),), store="redis://h")
    with pytest.raises(ValueError, match="limit: of the rule r: a shared store counts up to 9007"):
        Config(rules=(rule("10M USD/year"),), store="redis://h")


def test_hooks_wait_only_where_a_store_does():
    assert type(Plugin(Config())) is Plugin
    assert type(Plugin(Config(store="redis://h"))) is Sharing
