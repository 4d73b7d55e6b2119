"""Tokens of an issuer let callers in, as whom the token says, over real sockets."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.testing import (
    RawAnswer,
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    StartFailed,
    running_gateway,
)
from plugins.api_keys.format import make
from plugins.jwt import Config, Plugin
from plugins.jwt.source import AGAIN_S
from tests.plugins.jwt.issuers import AUDIENCE, ISSUER, Server, SigningKey, jwks, served

OPERATORS = b"Bearer sk-operators"
# Shows what the plugin found out, as a field of the answer.
SHOW = """
import orjson
from gateway import hookimpl

FIELDS = ("key_id", "name", "team", "user", "tags", "rates", "budgets", "metadata")

class Plugin:
    def __init__(self, config): pass

    @hookimpl
    def answer(self, exchange, head):
        identity = exchange.identity
        if identity is not None:
            shown = {field: getattr(identity, field) for field in FIELDS}
            head.headers.add(b"x-identity", orjson.dumps(shown))
"""
Fields = list[tuple[bytes, bytes]]


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plugins") / "show.py"
    file.write_text(SHOW)
    return file


@pytest.fixture(scope="module")
def rsa_key() -> SigningKey:
    return SigningKey("RS256", "rsa-1")


@pytest.fixture(scope="module")
def ec_key() -> SigningKey:
    return SigningKey("ES256", "ec-1")


@pytest.fixture(scope="module")
def ed_key() -> SigningKey:
    return SigningKey("EdDSA", "ed-1")


@pytest.fixture(scope="module")
def keys(rsa_key: SigningKey, ec_key: SigningKey, ed_key: SigningKey) -> tuple[SigningKey, ...]:
    return rsa_key, ec_key, ed_key


@pytest.fixture(scope="module")
def issuer(keys: tuple[SigningKey, ...]) -> Iterator[Server]:
    with served(*keys) as server:
        yield server


def table(place: str, **more: Any) -> dict[str, Any]:
    return {"jwks": place, "issuer": ISSUER, "audience": AUDIENCE, **more}


def configured(upstream: ScriptedUpstream, jwt: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    names = ("openai", "anthropic", "google-ai-studio")
    return {
        "enabled": ["jwt", "credentials"],
        "providers": {name: upstream.provider() for name in names},
        "plugins": {"jwt": jwt},
        **more,
    }


CLAIMS = {"team": "org.id?", "metadata": ["region?"], "rates": "limits?"}
ENV = {"OPENAI_API_KEY": "sk-operators", "ANTHROPIC_API_KEY": "sk-operators"}


@pytest.fixture(scope="module")
def gateway(upstream: ScriptedUpstream, issuer: Server, show: Path) -> Iterator[RunningGateway]:
    config = configured(upstream, table(issuer.url, claims=CLAIMS))
    with running_gateway(config, plugins=[show], env=ENV) as made:
        yield made


def ask(gateway: RunningGateway, fields: Fields, target: bytes = b"/openai/v1/models") -> RawAnswer:
    with RawCaller(gateway.port) as caller:
        caller.request(b"GET", target, *fields)
        return caller.answer()


def bearer(token: bytes) -> Fields:
    return [(b"Authorization", b"Bearer " + token)]


def identity(answer: RawAnswer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    return dict(orjson.loads(answer.get(b"x-identity") or b"{}"))


def test_a_token_of_each_key_lets_its_bearer_in(gateway, keys):
    for key in keys:
        assert identity(ask(gateway, bearer(key.token())))["user"] == "ann"


def test_claims_become_the_identity(gateway, ec_key):
    token = ec_key.token(sub="bob", org={"id": "acme"}, region="eu", limits=["50/min"])
    for _ in range(2):  # the second one is remembered
        assert identity(ask(gateway, bearer(token))) == {
            "key_id": "bob",
            "name": None,
            "team": "acme",
            "user": "bob",
            "tags": [],
            "rates": [["key", "50/min"]],
            "budgets": [],
            "metadata": {"region": "eu"},
        }


@pytest.mark.parametrize(
    "written",
    [
        bearer,
        lambda token: [(b"x-api-key", token)],
        lambda token: [(b"weir-authorization", b"Bearer " + token)],
        lambda token: [(b"cf-aig-authorization", b"Bearer " + token)],
        lambda token: [*bearer(token), (b"X-Api-Key", token)],
    ],
)
def test_the_token_stays_here_and_the_operators_key_goes_up(gateway, upstream, ec_key, written):
    token = ec_key.token(sub=str(time.time_ns()))
    for target in (b"/openai/v1/models", b"/anthropic/v1/models"):
        for _ in range(2):
            upstream.forget()
            assert ask(gateway, written(token), target).status == 200
            (request,) = upstream.requests
            assert token not in request.head
            assert b"sk-operators" in request.head


def test_a_callers_own_key_goes_up_beside_a_token(gateway, upstream, ec_key):
    upstream.forget()
    own = [(b"weir-authorization", ec_key.token()), (b"Authorization", b"Bearer sk-callers")]
    assert ask(gateway, own).status == 200
    assert upstream.requests[0].get(b"authorization") == b"Bearer sk-callers"


def test_another_issuers_token_is_a_callers_own_key_and_a_second_one_of_ours_is_not(
    gateway, upstream, ec_key
):
    theirs, second = ec_key.token(iss="https://login.example"), ec_key.token(sub="carl")
    for other, goes_up in ((theirs, True), (second, False)):
        upstream.forget()
        fields = [(b"weir-authorization", ec_key.token()), *bearer(other)]
        assert identity(ask(gateway, fields))["user"] == "ann"
        assert (other in upstream.requests[0].head) is goes_up


def test_a_bad_token_is_refused_in_the_surface_and_not_quoted(gateway, upstream, ec_key):
    upstream.forget()
    token = ec_key.token(exp=1)
    shapes = {
        b"/openai/v1/models": lambda body: body["error"]["message"],
        b"/anthropic/v1/models": lambda body: body["error"]["message"],
        b"/google-ai-studio/v1beta/models": lambda body: body["error"]["message"],
    }
    for target, message in shapes.items():
        answer = ask(gateway, bearer(token), target)
        assert answer.status == 401
        assert answer.get(b"www-authenticate") == b"Bearer"
        assert message(orjson.loads(answer.body)) == "The token is not accepted: it has expired."
        assert not any(part in answer.body for part in token.split(b"."))
    assert upstream.requests == []
    assert not any(part.decode() in gateway.stderr for part in token.split(b"."))


@pytest.mark.parametrize("fields", [[], bearer(b"sk-something"), [(b"x-api-key", b"a.b")]])
def test_without_a_token_nobody_is_let_in(gateway, upstream, fields):
    upstream.forget()
    answer = ask(gateway, fields)
    assert (answer.status, upstream.requests) == (401, [])
    assert b"sk-something" not in answer.body


def test_made_up_names_of_keys_have_them_read_again_once(gateway, issuer, ec_key):
    before = issuer.asked
    for number in range(40):
        kid = f"../../{number}'; DROP TABLE keys"
        answer = ask(gateway, bearer(ec_key.token({"kid": kid})))
        assert answer.status == 401
        assert b"DROP" not in answer.body
    assert issuer.asked <= before + 1
    assert ask(gateway, bearer(ec_key.token())).status == 200


def test_huge_tokens_are_refused(gateway, upstream, ec_key):
    upstream.forget()
    answer = ask(gateway, bearer(ec_key.token(padding="x" * 20_000)))
    assert (answer.status, upstream.requests) == (401, [])
    assert b"it is too long" in answer.body


def test_while_the_issuer_is_away_tokens_are_taken_and_without_keys_it_is_no_401(upstream, ec_key):
    with served(ec_key) as issuer:
        issuer.die()
        config = configured(upstream, table(issuer.url, refresh="1s"))
        with running_gateway(config) as gateway:
            answer = ask(gateway, bearer(ec_key.token()))
            assert (answer.status, answer.get(b"retry-after")) == (503, b"5")
            assert b"token_keys_unavailable" in answer.body
            assert ask(gateway, bearer(ec_key.token(exp=1))).status == 401
            issuer.begin()
            eventually(gateway, ec_key, 200)
            failed = len([line for line in gateway.log if line["event"] == "keys_not_read"])
            issuer.die()
            gateway.wait_for_log("keys_not_read", failed + 1)
            assert ask(gateway, bearer(ec_key.token(sub="new"))).status == 200


def eventually(gateway: RunningGateway, key: SigningKey, status: int) -> None:
    deadline = time.monotonic() + 10
    while ask(gateway, bearer(key.token())).status != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_each_gateway_has_its_own_issuer_and_a_reload_counts(upstream, ec_key, ed_key, tmp_path):
    for name, key in (("main", ec_key), ("other", ed_key)):
        (tmp_path / f"{name}.json").write_bytes(jwks(key))
    (tmp_path / "main.pem").write_bytes(ec_key.pem)
    other: dict[str, Any] = {
        "jwks": f"file:{tmp_path}/other.json",
        "issuer": "https://other.example",
    }
    main = {"public_key": f"file:{tmp_path}/main.pem", "issuer": ISSUER, "any_audience": True}
    other |= {"public_key": "", "any_audience": False, "audience": AUDIENCE}
    config = configured(
        upstream,
        main,
        gateways={"other": {"plugins": {"jwt": other}}},
    )
    to_other: Fields = [(b"weir-gateway", b"other")]
    mine, theirs = ec_key.token(aud="anybody"), ed_key.token(iss="https://other.example")
    with running_gateway(config) as gateway:

        def statuses() -> list[int]:
            return [
                ask(gateway, [*bearer(token), *fields]).status
                for fields in ([], to_other)
                for token in (mine, theirs)
            ]

        assert statuses() == [200, 401, 401, 200]
        gateway.write_config({**config, "plugins": {"jwt": other}})
        gateway.signal(signal.SIGHUP)
        gateway.wait_for_log("reloaded")
        assert statuses() == [401, 200, 401, 200]
        broken = {**other, "jwks": f"file:{tmp_path}/gone.json"}
        gateway.write_config({**config, "plugins": {"jwt": broken}})
        gateway.signal(signal.SIGHUP)
        gateway.wait_for_log("reloaded", 2)
        assert statuses() == [401, 503, 401, 200]


def test_the_readmes_settings_do_what_it_says(upstream, ec_key, show, issuer):
    text = (Path(__file__).parents[2] / "README.md").read_text()
    section = text.partition("### Tokens from elsewhere\n")[2].partition("\n#")[0]
    settings, claims = re.findall(r"```(?:toml|json)\n(.*?)```", section, re.DOTALL)
    config = configured(upstream, tomllib.loads(settings)["plugins"]["jwt"])
    config["plugins"]["jwt"]["jwks"] = issuer.url
    with running_gateway(config, plugins=[show]) as gateway:
        found = identity(ask(gateway, bearer(ec_key.token(**orjson.loads(claims)))))
    assert (found["key_id"], found["user"], found["team"]) == (
        "auth0|7f3",
        "ann@acme.example",
        "acme",
    )
    assert (found["tags"], found["metadata"]) == (["chat", "embed"], {"region": "eu"})
    assert found["rates"] == [["key", "50/min"], ["key", "8 concurrent"]]
    assert found["budgets"] == [["team", "200 USD/month"]]


@pytest.mark.parametrize(
    ("jwt", "said"),
    [
        ({}, "jwt: wanted one of jwks"),
        (
            table("file:/nowhere/jwks.json"),
            "jwt: file:/nowhere/jwks.json cannot be used: ",
        ),
        (table("file:/dev/null"), "jwt: file:/dev/null cannot be used: it is not JSON"),
        (table("", public_key="file:/dev/null"), "it is no public key in PEM"),
        (
            table("https://localhost:1/", ca_file="/nowhere"),
            "jwt: ca_file cannot be used: [Errno 2]",
        ),
        (table("https://localhost:1/", ca_file="/dev/null"), "jwt: ca_file cannot be used"),
    ],
)
def test_what_would_stop_a_start_is_told(jwt, said):
    config = Config(**jwt)
    (text,) = Plugin(config).check(config, Path())
    assert said in text


@pytest.mark.parametrize("order", [["jwt", "api_keys"], ["api_keys", "jwt"]])
def test_beside_keys_each_takes_what_is_its_own(upstream, ec_key, tmp_path, order):
    key = make()
    (tmp_path / "jwks.json").write_bytes(jwks(ec_key))
    config = configured(upstream, table(f"file:{tmp_path}/jwks.json"))
    config["enabled"] = [*order, "credentials"]
    kept = {"name": "of-config", "hash": hashlib.sha256(key.encode()).hexdigest()}
    config["plugins"]["api_keys"] = {"store": "none", "keys": [kept]}
    token = ec_key.token()
    with running_gateway(config) as gateway:
        for shown, status, said in (
            (key.encode(), 200, b""),
            (token, 200, b""),
            (make().encode(), 401, b"The key is none of this gateway"),
            (ec_key.token(exp=1), 401, b"The token is not accepted"),
            (b"a.b.c.d.e", 401, b"The credential is none that this gateway knows"),
            (b"", 401, b"the request has none"),
        ):
            upstream.forget()
            answer = ask(gateway, bearer(shown))
            assert answer.status == status
            assert said in answer.body
            assert len(upstream.requests) == (1 if status == 200 else 0)
        # Both in one request: one of them says who calls, and neither goes up.
        for fields in (
            [(b"weir-authorization", key.encode()), *bearer(token)],
            [(b"weir-authorization", token), *bearer(key.encode())],
            [(b"x-api-key", key.encode()), *bearer(token)],
        ):
            upstream.forget()
            assert ask(gateway, fields).status == 200
            assert key.encode() not in upstream.requests[0].head
            assert token not in upstream.requests[0].head


def test_what_cannot_work_does_not_start(upstream):
    config = configured(upstream, table("file:/nowhere/jwks.json"))
    with pytest.raises(StartFailed, match="No such file") as failed, running_gateway(config):
        pass
    assert failed.value.code == 78


def test_without_its_packages_it_says_how_to_install_them(upstream, issuer, tmp_path):
    (tmp_path / "jwt.py").write_text("raise ModuleNotFoundError(name='jwt')")
    config = configured(upstream, table(issuer.url))
    with (
        pytest.raises(
            StartFailed, match=r'jwt is not installed.*pip install "weir\[jwt\]"'
        ) as failed,
        running_gateway(config, env={"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}),
    ):
        pass
    assert failed.value.code == 78


def test_its_packages_are_imported_only_when_it_is_enabled():
    code = "import plugins.jwt, sys; print({'jwt', 'cryptography'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# The last, because tokens may have keys read again only some time after they were read before.
def test_a_token_by_a_key_that_is_new_is_taken_at_once(gateway, issuer, ec_key, ed_key):
    old, new = ec_key.token(sub="old"), SigningKey("ES256", "ec-2")
    assert ask(gateway, bearer(old)).status == 200
    time.sleep(max(0, issuer.asked_at + AGAIN_S + 0.1 - time.monotonic()))
    before = issuer.asked
    issuer.body, issuer.delay_s = jwks(new, ed_key), 0.3
    callers = [RawCaller(gateway.port) for _ in range(10)]
    for caller in callers:
        caller.request(b"GET", b"/openai/v1/models", *bearer(new.token()))
    assert [caller.answer().status for caller in callers] == [200] * 10
    assert issuer.asked == before + 1
    # What the old key had signed was remembered, and is no more.
    assert ask(gateway, bearer(old)).status == 401
    for caller in callers:
        caller.leave()
