from __future__ import annotations

import asyncio
from types import ModuleType

import msgspec
import pytest

from gateway import Attempt, Exchange, StartError, hookimpl
from gateway.testing import attempt_of, exchange, plan_of
from plugins import metadata


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: int = 3


class Needs(msgspec.Struct, frozen=True):
    key: str


class Plugin:
    reads = "json"

    def __init__(self, config: Config) -> None:
        pass

    @hookimpl
    async def send(self, exchange: Exchange, attempt: Attempt) -> None:
        attempt.headers.set(b"X-Size", b"%d" % exchange.settings["test_exchanges"].size)


class TwoWords:
    fails = "open"

    @hookimpl
    async def limit(self, exchange: Exchange) -> None:
        pass


def test_an_exchange_stands_where_hooks_find_it():
    made = exchange(headers=[(b"X-A", b"1")], body=b'{"model":"m","stream":true}')

    assert made.provider is not None
    assert (made.method, made.target) == (b"POST", b"/openai/v1/chat/completions")
    assert (made.provider.name, made.path) == ("openai", b"v1/chat/completions")
    assert (made.model, made.streaming, made.surface) == ("m", True, "openai")
    assert made.document == {"model": "m", "stream": True}
    assert made.headers.items == [
        (b"Host", b"localhost"),
        (b"X-A", b"1"),
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"27"),
    ]


def test_an_exchange_may_be_anything_to_any_provider():
    made = exchange(
        b"GET", b"v1/models", provider="anthropic", headers=[(b"cf-aig-metadata", b"x")]
    )

    assert (made.target, made.surface) == (b"/anthropic/v1/models", "anthropic")
    assert (made.body, made.model, made.headers.get(b"content-length")) == (None, None, None)
    assert (made.control(b"metadata"), made.prefix) == (b"x", b"cf-aig-")


def test_a_hook_runs_on_an_exchange_alone():
    settings = {"metadata": metadata.Config()}
    made = exchange(headers=[(b"weir-metadata", b'{"team":"search"}')], settings=settings)
    metadata.Plugin(metadata.Config()).prepare(made)

    assert made.known().metadata == {"team": "search"}


def test_a_hook_on_attempts_has_one_to_look_at():
    made = exchange(
        headers=[(b"Connection", b"X-Hop"), (b"X-Hop", b"1")],
        body=b"{}",
        plan=plan_of(Plugin(Config())),
    )
    attempt = attempt_of(made)
    asyncio.run(Plugin(Config()).send(made, attempt))

    assert made.attempts == [attempt]
    assert (attempt.number, attempt.target.path, attempt.body) == (
        0,
        b"/v1/chat/completions",
        b"{}",
    )
    assert attempt.headers.items == [(b"Content-Type", b"application/json"), (b"X-Size", b"3")]
    assert attempt_of(made).number == 1


def test_a_plan_holds_instances_under_the_names_that_config_would_give_them():
    two = TwoWords()
    plan = plan_of(Plugin(Config()), two)

    assert plan.settings["test_exchanges"] == Config()
    assert [hook.plugin for hook in (*plan.send, *plan.limit)] == [
        "test_exchanges",
        "two_words",
    ]
    assert (plan.reads, plan.fails_open) == ("json", frozenset({"two_words"}))
    assert [hook.call for hook in plan.limit] == [two.limit]


def test_a_plan_builds_modules_with_their_default_config():
    plan = plan_of(metadata)

    assert plan.settings == {"metadata": metadata.Config()}
    assert [hook.plugin for hook in plan.prepare] == ["metadata"]


def test_settings_may_differ_from_the_defaults():
    needy = ModuleType("needy")
    vars(needy).update(Plugin=Plugin, Config=Needs)
    plan = plan_of(needy, settings={"needy": Needs(key="k")})

    assert plan.settings["needy"].key == "k"
    with pytest.raises(TypeError, match="'key'"):
        plan_of(needy)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("limit", "hook limit: takes (self, exchange), this one (self, request)"),
        ("limits", "unknown hook limits; did you mean limit?"),
        ("settle", "hook settle: must be a plain `def`, it may not await"),
    ],
)
def test_a_plan_refuses_what_a_start_would_refuse(method, said):
    async def limit(self, request): ...

    async def settle(self, exchange): ...

    hook = settle if method == "settle" else limit
    wrong = type("Wrong", (), {method: hookimpl(hook), "__module__": __name__})()

    with pytest.raises(StartError) as refused:
        plan_of(wrong)
    assert str(refused.value) == f'enabled: plugin "wrong": {said}'
