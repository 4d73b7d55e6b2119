"""What cannot be counted does not start, and the message has the way out."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.testing import StartFailed, running_gateway
from plugins.rate_limit import Config
from plugins.rate_limit.checking import faults_of
from plugins.rate_limit.rules import Rule


@pytest.mark.parametrize(
    ("store", "fault"),
    [
        ("disk", 'wanted such as "redis://127.0.0.1:6379/0"'),
        ("redis://user:secret@host/0", "an address holds no password"),
    ],
)
def test_a_store_has_to_be_an_address(store, fault):
    found = list(faults_of(store))
    assert len(found) == 1
    assert fault in found[0]
    assert "secret" not in found[0]
    with pytest.raises(ValueError, match="store: "):
        Config(store=store)


@pytest.mark.parametrize("store", ["memory", "redis://h:6379/0", "rediss://h", "unix:///a/b"])
def test_stores(store):
    assert list(faults_of(store)) == []


def test_two_rules_of_one_name_are_refused():
    rules = tuple(Rule(name="r", scope=scope, limit="5/min") for scope in ("key", "team"))
    with pytest.raises(ValueError, match="two are named r"):
        Config(rules=rules)


def refused(config: dict[str, Any]) -> str:
    with pytest.raises(StartFailed) as caught:
        with running_gateway(config):
            pass
    return str(caught.value)


def test_several_workers_need_a_shared_store():
    said = refused({"enabled": ["rate_limit"], "server": {"workers": 2}})
    assert 'set server.workers = 1, or plugins.rate_limit.store = "redis://..."' in said


def test_limits_of_tokens_need_to_know_what_is_used():
    rules = [{"name": "t", "scope": "key", "limit": "5 tokens/s"}]
    said = refused({"enabled": ["rate_limit"], "plugins": {"rate_limit": {"rules": rules}}})
    assert "limits tokens (t)" in said


def test_a_password_that_is_missing_is_named():
    table = {"store": "redis://127.0.0.1:1/0", "store_password": "env:NOBODY_SETS_THIS"}
    said = refused({"enabled": ["rate_limit"], "plugins": {"rate_limit": table}})
    assert "store_password: env:NOBODY_SETS_THIS is" in said
