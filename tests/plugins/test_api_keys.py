"""Only who has a key gets in, may what the key may, and leaves the key here."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from gateway import Exchange, GatewayError, Request, Target, hookimpl
from gateway.testing import (
    Ran,
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    StartFailed,
    exchange,
    plan_of,
    run,
    running_gateway,
)
from plugins.api_keys import NAME, Config, Plugin
from plugins.api_keys.fields import Key, StaticKey, Team
from plugins.api_keys.format import digest_of, make
from plugins.api_keys.grants import Grant
from plugins.credentials import Config as CredentialsConfig
from plugins.credentials import Plugin as Credentials

KEY, OTHER = make(), make()
FOREIGN = "an-old-key-of-our-own-making"
OWN = b"sk-of-the-caller-itself"
BEARER = (b"Authorization", b"Bearer " + KEY.encode())
CHAT = b"v1/chat/completions"
ENV = {
    "OPENAI_API_KEY": "sk-operators",
    "ANTHROPIC_API_KEY": "ak-operators",
    "GEMINI_API_KEY": "gk-operators",
    "TEAM_KEY": "sk-of-the-team",
}


def static(key: str, name: str = "a", **fields: Any) -> StaticKey:
    return StaticKey(name=name, hash=digest_of(key.encode()).hex(), **fields)


def config(*keys: StaticKey, **more: Any) -> Config:
    return Config(keys=keys or (static(KEY),), store="none", **more)


def sent(
    upstream: ScriptedUpstream,
    made: Exchange,
    settings: Config | None = None,
    *others: object,
    **more: Any,
) -> Ran:
    """Send it down the line, with the plugin in front of others."""
    settings = settings or config()
    plan = plan_of(Plugin(settings), *others, settings={NAME: settings})
    upstream.forget()
    return run(plan, made, upstream, **more)


# -- who gets in -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        [BEARER],
        [(b"authorization", b"bearer " + KEY.encode())],
        [(b"X-Api-Key", KEY.encode())],
        [(b"x-goog-api-key", KEY.encode())],
        [(b"api-key", KEY.encode())],
        [(b"weir-authorization", KEY.encode())],
        [(b"weir-authorization", b"Bearer " + KEY.encode())],
        [(b"cf-aig-authorization", b"Bearer " + KEY.encode())],
    ],
)
def test_a_key_is_found_where_clients_put_it_and_goes_no_further(upstream, fields):
    made = exchange(headers=[*fields, (b"X-More", b"1")])
    ran = sent(upstream, made)

    assert ran.status == 200
    assert made.identity is not None
    assert made.identity.key_id == "a"
    (request,) = upstream.requests
    assert KEY.encode() not in request.raw
    assert (b"X-More", b"1") in request.fields


@pytest.mark.parametrize(
    ("query", "left"),
    [
        (b"?key=%s", b""),
        (b"?alt=sse&key=%s", b"?alt=sse"),
        (b"?key=%s&alt=sse", b"?alt=sse"),
        (b"?a=1&key=%s&b=2&key=%s", b"?a=1&b=2"),
    ],
)
def test_a_key_in_the_query_goes_no_further(upstream, query, left):
    path = b"v1beta/models/m:generateContent"
    written = query.replace(b"%s", KEY.encode())
    made = exchange(path=path + written, provider="google-ai-studio")
    assert sent(upstream, made).status == 200
    (request,) = upstream.requests
    assert request.target == b"/" + path + left
    assert KEY.encode() not in made.target + made.path


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic " + KEY.encode(),
        b"Token " + KEY.encode(),
        KEY.encode(),
        b"Bearer " + OTHER.encode(),
        b"Bearer " + KEY[:-1].encode(),
        b"Bearer " + KEY.encode() + b"x",
        b"Bearer " + KEY.encode() + b"," + KEY.encode(),
        b"Bearer Bearer " + KEY.encode(),
        b"Bearer " + digest_of(KEY.encode()).hex().encode(),
        b"Bearer \xff\xfe",
        b"Bearer " + b"x" * 10_000,
        b"Bearer a.b.c",
        b"Bearer ' OR 1=1 --",
    ],
)
def test_anything_else_is_a_401_that_quotes_nothing(upstream, value):
    ran = sent(upstream, exchange(headers=[(b"Authorization", value)]))
    assert ran.status == 401
    assert ran.get(b"www-authenticate") == b"Bearer"
    assert not upstream.requests
    error = orjson.loads(ran.body)["error"]
    assert error["code"] in ("invalid_credential", "missing_credential")
    assert value.rpartition(b" ")[2] not in ran.raw or len(value) < 8


def test_nobody_gets_in_without_a_key(upstream):
    assert sent(upstream, exchange()).status == 401
    assert not upstream.requests


def test_a_key_of_another_form_is_as_good_if_its_hash_is_there(upstream):
    made = exchange(headers=[(b"x-api-key", FOREIGN.encode())])
    assert sent(upstream, made, config(static(FOREIGN))).status == 200


def test_of_two_keys_in_a_request_neither_goes_up(upstream):
    settings = config(static(KEY), static(OTHER, "b"))
    fields = [(b"weir-authorization", KEY.encode()), (b"X-Api-Key", OTHER.encode())]
    made = exchange(headers=[*fields, (b"Authorization", b"Token " + KEY.encode())])
    assert sent(upstream, made, settings).status == 200
    assert made.identity is not None
    assert made.identity.key_id == "a"
    (request,) = upstream.requests
    assert OTHER.encode() not in request.raw
    assert KEY.encode() not in request.raw


@pytest.mark.parametrize("name", [b"weir-authorization", b"cf-aig-authorization"])
def test_a_callers_own_provider_key_stays_beside_a_field_of_ours(upstream, name):
    fields = [(name, b"Bearer " + KEY.encode()), (b"Authorization", b"Bearer " + OWN)]
    assert (
        sent(upstream, exchange(headers=fields), None, Credentials(CredentialsConfig())).status
        == 200
    )
    (request,) = upstream.requests
    assert [value for name, value in request.fields if name.lower() == b"authorization"] == [
        b"Bearer " + OWN
    ]


def test_whom_somebody_else_has_let_in_is_left_alone(upstream):
    class Earlier:
        identifies = True

        @hookimpl
        def authenticate(self, exchange):
            exchange.known().key_id = "theirs"

    settings = config()
    plan = plan_of(Earlier(), Plugin(settings), settings={NAME: settings})
    made = exchange(headers=[(b"Authorization", b"Bearer x")])
    assert run(plan, made, upstream).status == 200
    assert made.identity is not None
    assert made.identity.key_id == "theirs"


def test_gateways_have_their_own_keys_and_keep_them_ready(upstream):
    ours, theirs = config(static(KEY)), config(static(OTHER, "b"))
    plugin = Plugin(ours)
    plans = [plan_of(plugin, settings={NAME: settings}) for settings in (ours, theirs)]

    plugin._gateway = SimpleNamespace(plans=dict(enumerate(plans)))  # type: ignore[assignment]
    rings = []
    for _ in range(2):
        for plan, key in zip(plans, (KEY, OTHER), strict=True):
            made = exchange(headers=[(b"x-api-key", key.encode())], plan=plan)
            plugin.authenticate(made)
            assert made.identity is not None
        rings.append(dict(plugin._rings))
    assert [id(ring) for ring in rings[0].values()] == [id(ring) for ring in rings[1].values()]
    with pytest.raises(GatewayError):
        plugin.authenticate(exchange(headers=[(b"x-api-key", KEY.encode())], plan=plans[1]))


# -- what it may -----------------------------------------------------------------------------------


def body(model: str = "good-1", **more: Any) -> bytes:
    return orjson.dumps({"model": model, "messages": [], **more})


@pytest.mark.parametrize(
    ("fields", "code", "status"),
    [
        ({"enabled": False}, "invalid_credential", 401),
        ({"expires": "2020-01-01"}, "invalid_credential", 401),
        ({"gateways": ("staging",)}, "gateway_not_allowed", 403),
        ({"networks": ("10.0.0.0/8",)}, "address_not_allowed", 403),
        ({"paths": ("v1/models",)}, "path_not_allowed", 403),
        ({"providers": ("groq",)}, "provider_not_allowed", 403),
        ({"models": ("gpt-*",)}, "model_not_allowed", 403),
        ({"denied_models": ("good*",)}, "model_not_allowed", 403),
    ],
)
def test_what_a_key_or_its_team_may_not_is_refused_and_not_sent(upstream, fields, code, status):
    team = Team(name="t", **fields)
    for settings in (
        config(static(KEY, **fields)),
        config(static(KEY, team="t"), teams=(team,)),
    ):
        ran = sent(upstream, exchange(headers=[BEARER], body=body()), settings)
        assert (ran.status, orjson.loads(ran.body)["error"]["code"]) == (status, code)
        assert not upstream.requests


def test_what_a_key_may_passes_as_it_came(upstream):
    settings = config(static(KEY, models=("good*",), providers=("openai",), paths=("v1/*",)))
    asked = b'{ "model" : "good-1", "x": 1.10, "y": 123456789012345678901234567890 }'
    assert sent(upstream, exchange(headers=[BEARER], body=asked), settings).status == 200
    (request,) = upstream.requests
    assert request.body == asked


@pytest.mark.parametrize(
    "asked",
    [
        b'{"model": "good", "model": "bad"}',
        b'{"Model": "bad", "model": "good"}',
        b'{"model": "good", "n": NaN}',
        b"model=good",
    ],
)
def test_a_body_that_can_be_read_in_two_ways_is_a_400(upstream, asked):
    settings = config(static(KEY, models=("good*",)))
    ran = sent(upstream, exchange(headers=[BEARER], body=asked), settings)
    assert (ran.status, orjson.loads(ran.body)["error"]["code"]) == (400, "model_unclear")
    assert not upstream.requests


def test_what_is_not_said_to_be_json_is_not_read_and_not_sent(upstream):
    settings = config(static(KEY, models=("good*",)))
    fields = [BEARER, (b"Content-Type", b"text/plain")]
    assert sent(upstream, exchange(headers=fields, body=body("bad")), settings).status == 400
    assert sent(upstream, exchange(headers=fields, body=body()), settings).status == 400
    assert not upstream.requests


def test_bodies_of_keys_without_rules_about_models_are_not_read(upstream):
    made = exchange(headers=[BEARER], body=body())
    assert sent(upstream, made).status == 200
    assert made.body is None
    made = exchange(headers=[BEARER], body=body())
    assert sent(upstream, made, config(static(KEY, models=("*",)))).status == 200
    assert made.body == body()


@pytest.mark.parametrize(
    ("settings", "hooks"),
    [
        (config(), 0),
        (config(static(KEY, paths=("v1/*",))), 0),
        (config(static(KEY, models=("*",))), 2),
        (config(teams=(Team(name="t", providers=("*",)),)), 2),
        (Config(), 2),
    ],
)
def test_what_no_key_has_rules_for_costs_nothing(settings, hooks):
    plan = plan_of(Plugin(settings), settings={NAME: settings})
    assert len(plan.prepare) + len(plan.send) == hooks


class Elsewhere:
    """Sends requests to groq first, then to mistral, and says which it tried."""

    def __init__(self) -> None:
        self.tried: list[str] = []

    @hookimpl
    def lifespan(self, gateway):
        import contextlib

        self.gateway = gateway
        return contextlib.AsyncExitStack()

    @hookimpl
    def pick(self, exchange):
        left = [name for name in ("groq", "mistral") if name not in self.tried]
        if not left:
            return None
        self.tried.append(left[0])
        provider = self.gateway.providers[left[0]]
        return Target(provider, *provider.locate(CHAT, None))


def test_rules_bind_where_a_request_really_goes(upstream):
    elsewhere = Elsewhere()
    settings = config(static(KEY, providers=("openai", "mistral")))
    made = exchange(headers=[BEARER], body=body())
    ran = sent(upstream, made, settings, elsewhere, lifespans=[elsewhere.lifespan])
    assert ran.status == 200
    assert elsewhere.tried == ["groq", "mistral"]
    assert len(upstream.requests) == 1


class Renames:
    """Sends another model than was asked for."""

    @hookimpl
    def send(self, exchange, attempt):
        attempt.body = body("bad")


def test_rules_bind_the_model_that_is_really_sent(upstream):
    settings = config(static(KEY, models=("good*",)))
    plan = plan_of(Renames(), Plugin(settings), settings={NAME: settings})
    upstream.forget()
    assert run(plan, exchange(headers=[BEARER], body=body()), upstream).status == 403
    assert not upstream.requests


class Asks:
    """Asks a model itself, for each request."""

    def __init__(self, asked: bytes) -> None:
        self.asked = asked
        self.status = 0

    @hookimpl
    def lifespan(self, gateway):
        import contextlib

        self.gateway = gateway
        return contextlib.AsyncExitStack()

    @hookimpl
    async def limit(self, exchange):
        if exchange.depth == 0:
            request = Request(
                b"/openai/v1/chat/completions",
                self.asked,
                headers=((b"Content-Type", b"application/json"),),
            )
            self.status = (await self.gateway.call(exchange, request)).status


@pytest.mark.parametrize(("model", "status"), [("good-2", 200), ("bad", 403)])
def test_rules_bind_what_plugins_ask_for_a_caller(upstream, model, status):
    settings = config(static(KEY, models=("good*",)))
    asks = Asks(body(model))
    made = exchange(headers=[BEARER], body=body())
    ran = sent(upstream, made, settings, asks, lifespans=[asks.lifespan])
    assert (asks.status, ran.status) == (status, 200)


# -- whose it is -----------------------------------------------------------------------------------


def test_a_request_is_its_keys(upstream):
    team = Team(name="t", rate_limits=("9/min",), metadata={"plan": "free"})
    key = static(KEY, team="t", user="anna", budgets=("5 USD/day",), metadata={"n": 1}, id="k1")
    made = exchange(headers=[BEARER])
    assert sent(upstream, made, config(key, teams=(team,))).status == 200
    identity = made.identity
    assert identity is not None
    assert (identity.key_id, identity.name, identity.team, identity.user) == (
        "k1",
        "a",
        "t",
        "anna",
    )
    assert (identity.rates, identity.budgets) == ((("team", "9/min"),), (("key", "5 USD/day"),))
    assert identity.metadata == {"plan": "free", "n": 1}


def test_a_callers_metadata_does_not_change_the_keys(upstream):
    import plugins.metadata

    settings = config(static(KEY, metadata={"plan": "free"}))
    fields = [BEARER, (b"weir-metadata", b'{"plan": "gold", "trace": 7}')]
    plan = plan_of(Plugin(settings), plugins.metadata, settings={NAME: settings})
    for _ in range(2):  # nothing of one request is left in the next
        made = exchange(headers=fields)
        assert run(plan, made, upstream).status == 200
        assert made.identity is not None
        assert made.identity.metadata == {"trace": 7, "plan": "free"}
        fields[1] = (b"weir-metadata", b'{"trace": 7}')


# -- the store -------------------------------------------------------------------------------------


class Clockless:
    """A plugin whose store is in one of its states, without a store."""

    def __init__(self, *, is_lost: bool, is_loaded: bool) -> None:
        self.is_lost = is_lost
        self.is_loaded = is_loaded


def managed(*, is_lost: bool, is_loaded: bool = True) -> tuple[Plugin, Config, Grant]:
    settings = config(static(OTHER, "static"))
    plugin = Plugin(settings)
    grant = Grant("m", Key(name="m"), None, is_managed=True)
    plugin._managed[digest_of(KEY.encode())] = grant
    plugin._watcher = Clockless(is_lost=is_lost, is_loaded=is_loaded)  # type: ignore[assignment]
    plugin._lost_ms = 1 if is_lost else 0
    return plugin, settings, grant


def status_with(plugin: Plugin, settings: Config, key: str) -> int:
    plan = plan_of(plugin, settings={NAME: settings})
    made = exchange(headers=[(b"Authorization", b"Bearer " + key.encode())], plan=plan)
    try:
        plugin.authenticate(made)
    except GatewayError as fault:
        is_told_when = b"Retry-After" in dict(fault.headers)
        return fault.status if is_told_when == (fault.status == 503) else 0
    return 200


def test_with_the_store_away_keys_in_use_go_on_and_others_wait():
    plugin, settings, grant = managed(is_lost=False)
    assert status_with(plugin, settings, KEY) == 200
    assert grant.uses == 1
    plugin._lost_ms = plugin._watcher.is_lost = 1  # type: ignore[union-attr]
    assert status_with(plugin, settings, KEY) == 200
    verified_ms = grant.verified_ms
    grant.verified_ms -= 61_000
    assert status_with(plugin, settings, KEY) == 503  # and to be let in is no verification
    assert grant.verified_ms == verified_ms - 61_000
    assert status_with(plugin, settings, make()) == 503
    assert status_with(plugin, settings, OTHER) == 200  # of the configuration
    assert status_with(plugin, settings, KEY[:-1] + "!") == 401  # a typo is one in any weather
    plugin._lost_ms = plugin._watcher.is_lost = 0  # type: ignore[union-attr]
    assert status_with(plugin, settings, KEY) == 200
    assert status_with(plugin, settings, make()) == 401


def test_before_the_store_was_read_nobody_is_told_that_a_key_is_wrong():
    plugin, settings, _ = managed(is_lost=False, is_loaded=False)
    assert status_with(plugin, settings, make()) == 503
    assert status_with(plugin, settings, "typo") == 401


# -- a whole gateway -------------------------------------------------------------------------------


def table(*keys: StaticKey, teams: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    names = ("name", "hash", "team", "models")
    rows = [{n: v for n in names if (v := getattr(key, n))} for key in keys]
    rows = [{n: list(v) if isinstance(v, tuple) else v for n, v in row.items()} for row in rows]
    return {"store": "none", "keys": rows, "teams": list(teams)}


@pytest.fixture(scope="module")
def gateway(upstream: ScriptedUpstream) -> Iterator[RunningGateway]:
    names = ("openai", "anthropic", "google-ai-studio")
    team = {"name": "t", "provider_keys": {"openai": "env:TEAM_KEY", "anthropic": "env:NONE"}}
    keys = table(static(KEY), static(OTHER, "b", team="t"), teams=(team,))
    settings = {
        "providers": {name: upstream.provider() for name in names},
        "plugins": {"api_keys": keys},
        "log": {"level": "debug"},
    }
    plugins = ["api_keys", "metadata", "credentials", "usage", "ledger", "logs", "access_log"]
    with running_gateway(settings, plugins=plugins, env=ENV) as made:
        yield made


def up(
    gateway: RunningGateway, upstream: ScriptedUpstream, target: bytes, *fields: tuple[bytes, bytes]
) -> dict[bytes, bytes]:
    """Ask, and give the fields that the upstream got."""
    upstream.forget()
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", target, *fields)
        answer = caller.answer()
        assert answer.status == 200, answer.body
    (request,) = upstream.requests
    return {b":target": request.target} | {name.lower(): value for name, value in request.fields}


@pytest.mark.parametrize(
    ("target", "field", "value"),
    [
        (b"/openai/v1/models", b"authorization", b"Bearer sk-operators"),
        (b"/anthropic/v1/models", b"x-api-key", b"ak-operators"),
        (b"/google-ai-studio/v1beta/models", b"x-goog-api-key", b"gk-operators"),
    ],
)
@pytest.mark.parametrize("carrier", [b"Authorization", b"x-api-key", b"x-goog-api-key", b"api-key"])
def test_the_providers_key_takes_the_place_of_ours(
    gateway, upstream, target, field, value, carrier
):
    shown = b"Bearer " + KEY.encode() if carrier == b"Authorization" else KEY.encode()
    found = up(gateway, upstream, target, (carrier, shown))
    carriers = {b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"}
    assert {name: found[name] for name in found.keys() & carriers} == {field: value}


def test_a_teams_own_provider_key_goes_up_in_place_of_the_providers(gateway, upstream):
    bearer = (b"Authorization", b"Bearer " + OTHER.encode())
    found = up(gateway, upstream, b"/openai/v1/models", bearer)
    assert found[b"authorization"] == b"Bearer sk-of-the-team"
    # Of a key that is missing nobody else's takes the place.
    found = up(gateway, upstream, b"/anthropic/v1/models", bearer)
    assert b"x-api-key" not in found
    found = up(gateway, upstream, b"/google-ai-studio/v1beta/models", bearer)
    assert found[b"x-goog-api-key"] == b"gk-operators"


def test_a_key_is_in_no_log_and_no_row(gateway, upstream):
    key = KEY.encode()
    wrong = make().encode()
    with RawCaller(gateway.port) as caller:
        for shown, status in ((key, 200), (wrong, 401)):
            target = b"/google-ai-studio/v1beta/models?key=" + shown
            caller.request(b"GET", target, (b"weir-collect-log-payload", b"true"))
            assert caller.answer().status == status
    gateway.wait_for_log("exchange", 2)
    rows = b"".join(path.read_bytes() for path in (gateway.folder / "state").rglob("*.db*"))
    journal = b"".join(path.read_bytes() for path in (gateway.folder / "state").rglob("*.j*"))
    for kept in (rows, journal, gateway.stderr.encode()):
        assert key not in kept
        assert wrong not in kept


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ([{"name": "a", "hash": KEY}], "weir keys hash"),
        ([{"name": "a", "hash": "a" * 64, "modles": []}], "did you mean models"),
    ],
)
def test_what_is_wrong_in_the_configuration_stops_the_start(keys, fault):
    settings = {"plugins": {"api_keys": {"keys": keys}}}
    with pytest.raises(StartFailed) as caught, running_gateway(settings, plugins=["api_keys"]):
        pass
    assert caught.value.code == 78
    assert fault in caught.value.stderr
    assert KEY not in caught.value.stderr
