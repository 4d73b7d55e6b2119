"""What cannot be counted does not start, and the message has the way out."""

from __future__ import annotations

import pytest

import plugins.rate_limit
from gateway import Secret, StartError
from gateway.config import Config as CoreConfig
from gateway.config import Server
from gateway.testing import exchange, plan_of, run
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


def refused(config: Config, workers: int = 1) -> str:
    """Start a plan with these settings; give why it does not."""
    plan = plan_of(plugins.rate_limit, settings={"rate_limit": config})
    plugin = plan.limit[0].call.__self__  # type: ignore[attr-defined]
    core = CoreConfig(enabled=(), state_dir="/dev/null", server=Server(workers=workers))
    with pytest.raises(StartError) as caught:
        run(plan, exchange(), config=core, lifespans=[plugin.lifespan])
    return str(caught.value)


def test_several_workers_need_a_shared_store():
    said = refused(Config(), workers=2)
    assert 'set server.workers = 1, or plugins.rate_limit.store = "redis://..."' in said


def test_limits_of_tokens_need_to_know_what_is_used():
    said = refused(Config(rules=(Rule(name="t", scope="key", limit="5 tokens/s"),)))
    assert "limits tokens (t)" in said
    assert 'enable "usage"' in said


def test_a_password_that_is_missing_is_named():
    secret = Secret(None, reference="env:NOBODY", why_missing="not set")
    said = refused(Config(store="redis://127.0.0.1:1/0", store_password=secret))
    assert said == "store_password: env:NOBODY is not set; set it"
