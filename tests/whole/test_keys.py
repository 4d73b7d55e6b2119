"""Managed keys while a gateway runs: in force everywhere within a second, and without the store."""

from __future__ import annotations

import re
import secrets
import shlex
import sqlite3
import time
import timeit
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import anthropic
import msgspec
import openai
import orjson
import pytest
from click.testing import CliRunner
from google import genai
from google.genai import errors as google_errors

from gateway.cli import main
from gateway.refusal import Screen
from gateway.testing import (
    RawAnswer,
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Visit,
    chunk,
    exchange,
    head,
    plan_of,
    running_gateway,
    sized,
)
from gateway.testing.exchanges import BARE
from plugins.api_keys import NAME, Config, Plugin
from plugins.api_keys.fields import StaticKey, Team
from plugins.api_keys.format import ALPHABET, checksum, digest_of, make
from tests.postgres_server import postgres_server
from tests.sizes import Sizes
from tests.tidy.source import ROOT

# In force within this, says the promise; `PATIENCE_S` is for a machine that is busy otherwise.
SOON_S = 1.0
PATIENCE_S = 5.0
# So many connections meet both of two workers, but once in a hundred times.
CONNECTIONS = 8
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'


class Admin:
    """The operator of a gateway."""

    def __init__(self, gateway: RunningGateway) -> None:
        self._gateway = gateway
        self._token = gateway.admin_token

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        answer = self.answer(method, f"/api/{path}", body, self._token, **headers)
        assert answer.get(b"content-type") == b"application/json", answer.body
        return answer.status, orjson.loads(answer.body)

    def answer(
        self, method: str, path: str, body: Any = None, token: str = "", **headers: str
    ) -> RawAnswer:
        fields = [(n.replace("_", "-").encode(), value.encode()) for n, value in headers.items()]
        with RawCaller(self._gateway.admin_port) as caller:
            data = None if body is None else orjson.dumps(body)
            caller.request(method.encode(), path.encode(), bearer(token), *fields, body=data)
            return caller.answer()

    def probe(self, path: str) -> int:
        return self.answer("GET", path).status

    def done(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        status, document = self.ask(method, path, body)
        assert status in (200, 201), document
        return document

    def make(self, **fields: Any) -> dict[str, Any]:
        return self.done("POST", "keys", {"name": "a", **fields})


class Callers:
    """Connections kept open to gateways, so that each of their workers has some."""

    def __init__(self, stack: ExitStack, *gateways: RunningGateway) -> None:
        self._all = [
            stack.enter_context(RawCaller(gateway.port))
            for gateway in gateways
            for _ in range(CONNECTIONS)
        ]

    def statuses(self, key: str) -> set[int]:
        found = set()
        for caller in self._all:
            caller.request(b"GET", b"/openai/v1/models", bearer(key))
            found.add(caller.answer().status)
        return found

    def wait_for(self, key: str, status: int) -> float:
        """Wait until everybody says that, and give how long it took."""
        started = time.monotonic()
        while (found := self.statuses(key)) != {status}:
            assert time.monotonic() - started < PATIENCE_S, found
        return time.monotonic() - started


def bearer(key: str) -> tuple[bytes, bytes]:
    return b"Authorization", b"Bearer " + key.encode()


@contextmanager
def running(upstream: ScriptedUpstream, workers: int = 1, **table: Any) -> Iterator[RunningGateway]:
    settings = {
        "providers": {
            name: upstream.provider() for name in ("openai", "anthropic", "google-ai-studio")
        },
        "plugins": {"api_keys": table},
        "server": {"workers": workers},
    }
    env = {"OPENAI_API_KEY": "sk-operators"}
    with running_gateway(settings, plugins=["api_keys", "credentials"], env=env) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def gateway(upstream: ScriptedUpstream) -> Iterator[RunningGateway]:
    with running(upstream) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def admin(gateway: RunningGateway) -> Admin:
    return Admin(gateway)


# -- in force everywhere ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_change_is_in_force_on_every_worker_and_node_within_a_second(upstream, postgres, kind):
    with ExitStack() as stack:
        if kind == "sqlite":
            gateways = [stack.enter_context(running(upstream, workers=2))]
        else:
            store = postgres.database()
            gateways = [
                stack.enter_context(running(upstream, workers=count, store=store))
                for count in (2, 1)
            ]
        admin = Admin(gateways[0])
        callers = Callers(stack, *gateways)
        slowest = 0.0
        admin.done("POST", "teams", {"name": "t"})
        made = admin.make(team="t")
        slowest = max(slowest, callers.wait_for(made["key"], 200))
        rotated = admin.done("POST", f"keys/{made['id']}/rotate", {"grace": "1h"})
        slowest = max(slowest, callers.wait_for(rotated["key"], 200))
        assert callers.statuses(made["key"]) == {200}
        again = admin.done("POST", f"keys/{made['id']}/rotate", {})
        slowest = max(slowest, callers.wait_for(rotated["key"], 401))
        assert callers.statuses(again["key"]) == {200}
        admin.done("PATCH", f"keys/{made['id']}", {"providers": ["groq"]})
        slowest = max(slowest, callers.wait_for(again["key"], 403))
        admin.done("PATCH", f"keys/{made['id']}", {"providers": None})
        slowest = max(slowest, callers.wait_for(again["key"], 200))
        admin.done("PATCH", "teams/t", {"enabled": False})
        slowest = max(slowest, callers.wait_for(again["key"], 401))
        admin.done("PATCH", "teams/t", {"enabled": True})
        slowest = max(slowest, callers.wait_for(again["key"], 200))
        admin.done("POST", f"keys/{made['id']}/revoke")
        slowest = max(slowest, callers.wait_for(again["key"], 401))
        print(f"{kind}: the slowest change was in force after {slowest * 1000:.0f} ms")
        assert slowest < SOON_S + CONNECTIONS * 0.05


def test_a_grace_ends_by_itself(admin, gateway):
    made = admin.make()
    with ExitStack() as stack:
        callers = Callers(stack, gateway)
        callers.wait_for(made["key"], 200)
        admin.done("POST", f"keys/{made['id']}/rotate", {"grace": "400ms"})
        assert callers.statuses(made["key"]) == {200}
        callers.wait_for(made["key"], 401)


def models_or_a_stream(visit: Visit) -> None:
    """Answer a POST with a stream that takes a while, and anything else at once."""
    visit.read()
    if visit.request.method != b"POST":
        visit.send(sized(b"{}"))
        return
    visit.send(
        head(200, (b"Content-Type", b"text/event-stream"), (b"Transfer-Encoding", b"chunked"))
    )
    for _ in range(24):
        visit.pause(0.05)
        visit.send(chunk(EVENT))
    visit.send(chunk(b""))


@pytest.mark.parametrize(("cuts", "ending"), [(True, False), (False, True)])
def test_a_stream_of_a_revoked_key_is_cut_where_that_is_wanted(cuts, ending):
    with (
        ScriptedUpstream(models_or_a_stream) as upstream,
        running(upstream, revoke_cuts_streams=cuts) as gateway,
        RawCaller(gateway.port) as caller,
        RawCaller(gateway.port) as other,
    ):
        admin = Admin(gateway)
        made, spared = admin.make(), admin.make()
        with ExitStack() as stack:
            Callers(stack, gateway).wait_for(spared["key"], 200)
        for one, key in ((caller, made["key"]), (other, spared["key"])):
            one.request(b"POST", b"/openai/v1/chat/completions", bearer(key), body=b"{}")
        time.sleep(0.2)
        admin.done("POST", f"keys/{made['id']}/revoke")
        revoked = time.monotonic()
        answer = caller.answer()
        assert answer.status == 200
        assert answer.is_complete == ending
        if cuts:
            assert time.monotonic() - revoked < SOON_S
        assert other.answer().is_complete


# -- the store goes away ---------------------------------------------------------------------------


def test_a_file_that_is_away_lets_keys_in_use_go_on_until_it_is_back(upstream):
    with running(upstream, grace="1s") as gateway, ExitStack() as stack:
        admin, callers = Admin(gateway), Callers(stack, gateway)
        used, unused = admin.make(), admin.make()
        callers.wait_for(unused["key"], 200)
        time.sleep(1.1)
        callers.wait_for(used["key"], 200)
        file = gateway.folder / "state" / "keys.db"
        file.rename(file.with_name("away.db"))
        callers.wait_for(unused["key"], 503)
        # Those in use go on, for the grace and no longer, and a typo is one in any weather.
        assert callers.statuses(used["key"]) <= {200, 503}
        assert callers.statuses(make()) == {503}
        assert callers.statuses(used["key"][:-1] + "_") == {401}
        assert admin.probe("/livez") == 200
        assert admin.ask("GET", "keys")[0] in (200, 503)
        callers.wait_for(used["key"], 503)
        until(lambda: admin.probe("/readyz") == 503)
        file.with_name("away.db").rename(file)
        callers.wait_for(used["key"], 200)
        callers.wait_for(unused["key"], 200)
        until(lambda: admin.probe("/readyz") == 200)


def until(true: Callable[[], bool]) -> None:
    patient_until = time.monotonic() + 2 * PATIENCE_S
    while not true():
        assert time.monotonic() < patient_until
        time.sleep(0.05)


def test_a_server_that_is_frozen_or_dead_is_one_that_is_away(upstream, sizes: Sizes):
    with postgres_server() as server, ExitStack() as stack:  # one of its own, to be ill-treated
        gateway = stack.enter_context(running(upstream, store=server.database(), grace="60s"))
        admin, callers = Admin(gateway), Callers(stack, gateway)
        used, unused = admin.make(), admin.make()
        callers.wait_for(used["key"], 200)
        faults = ((server.kill, server.start), (server.freeze, server.thaw))
        for number, (away, back) in enumerate(faults[: sizes.key_store_faults]):
            away()
            gateway.wait_for_log("key_store_away", number + 1, timeout_s=10)
            assert callers.statuses(used["key"]) == {200}
            assert callers.statuses(unused["key"]) == {503}
            assert callers.statuses(make()) == {503}
            assert admin.probe("/livez") == 200
            back()
            started = time.monotonic()
            while callers.statuses(make()) != {401}:
                assert time.monotonic() - started < 4 * PATIENCE_S
        fresh = admin.make()
        callers.wait_for(fresh["key"], 200)


def test_a_start_without_the_store_waits_for_it(upstream, postgres):
    address = postgres.address("not_yet")
    with running(upstream, store=address) as gateway, ExitStack() as stack:
        admin, callers = Admin(gateway), Callers(stack, gateway)
        assert callers.statuses(make()) == {503}
        assert callers.statuses("typo") == {401}
        assert admin.probe("/livez") == 200
        assert admin.probe("/readyz") == 503
        postgres.ask("postgres", "CREATE DATABASE not_yet")
        callers.wait_for(make(), 401)
        assert admin.probe("/readyz") == 200


def test_keys_and_their_uses_outlive_a_gateway(upstream):
    with running(upstream) as gateway, ExitStack() as stack:
        admin, callers = Admin(gateway), Callers(stack, gateway)
        made = admin.make()
        while callers.statuses(made["key"]) != {200}:
            pass
        callers.statuses(made["key"])
        assert gateway.stop() == 0
        with sqlite3.connect(gateway.folder / "state" / "keys.db") as db:
            ((uses, used_ms),) = db.execute("SELECT count, used_ms FROM api_uses").fetchall()
        db.close()
        assert uses >= 2 * CONNECTIONS
        assert abs(used_ms / 1000 - time.time()) < 60


# -- the API ---------------------------------------------------------------------------------------


def test_the_api_makes_shows_changes_and_deletes(admin):
    status, made = admin.ask("POST", "keys", {"name": "a", "models": ["m*"]})
    assert status == 201
    path = f"keys/{made['id']}"
    assert admin.done("GET", path)["models"] == ["m*"]
    assert admin.done("PATCH", path, {"models": None})["models"] == []
    assert made["id"] in [key["id"] for key in admin.done("GET", "keys?limit=1000")["keys"]]
    assert admin.done("POST", f"{path}/rotate", {"grace": "1m"})["key"] != made["key"]
    assert admin.done("POST", f"{path}/revoke")["revoked_at"]
    assert admin.done("DELETE", path) == {"deleted": made["id"]}
    assert admin.ask("GET", path)[0] == 404
    changes = admin.done("GET", f"key-changes?subject={made['id']}")["changes"]
    assert [change["what"] for change in reversed(changes)] == [
        "create", "update", "rotate", "revoke", "delete"
    ]  # fmt: skip


def test_an_idempotency_key_makes_one_key(admin):
    once = secrets.token_hex(8)
    first = admin.ask("POST", "keys", {"name": "a"}, Idempotency_Key=once)
    second = admin.ask("POST", "keys", {"name": "a"}, Idempotency_Key=once)
    assert (first[0], second[0]) == (201, 200)
    assert second[1]["id"] == first[1]["id"]
    assert "key" not in second[1]
    assert admin.ask("POST", "keys", {"name": "b"}, Idempotency_Key=once)[0] == 409


def test_teams_are_managed_alike(admin):
    name = f"t{secrets.token_hex(4)}"
    assert admin.ask("POST", "teams", {"name": name})[0] == 201
    assert admin.done("PATCH", f"teams/{name}", {"tags": ["x"]})["tags"] == ["x"]
    assert admin.done("GET", f"teams/{name}")["name"] == name
    assert name in [team["name"] for team in admin.done("GET", "teams?limit=1000")["teams"]]
    assert admin.done("DELETE", f"teams/{name}") == {"deleted": name}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "keys", {}, 400),
        ("POST", "keys", {"name": "a", "modles": []}, 400),
        ("POST", "keys", {"name": "a", "team": "none"}, 404),
        ("GET", "keys?limit=0", None, 400),
        ("GET", "keys?page=2", None, 400),
        ("GET", "keys/none", None, 404),
        ("PATCH", "keys/none", [], 400),
        ("POST", "keys/none/rotate", {"grace": "soon"}, 400),
        ("POST", "teams", {"name": "a b"}, 400),
        ("POST", "teams", {"name": "a", "provider_keys": {"openai": "sk-12345678"}}, 400),
    ],
)
def test_what_cannot_be_done_is_said_in_json(admin, method, path, body, status):
    found, document = admin.ask(method, path, body)
    assert found == status
    assert document["error"]
    assert "sk-12345678" not in document["error"]


def test_no_endpoint_of_the_operator_is_open_but_the_probes(admin, gateway):
    """Walk what is served: each route has its rule."""
    document = admin.done("GET", "openapi.json")
    read = (gateway.folder / "state" / "admin.read.token").read_text().strip()
    assert {"/api/keys", "/api/keys/{id}", "/api/teams"} <= document["paths"].keys()
    for path, item in document["paths"].items():
        is_probe = path in ("/livez", "/readyz", "/healthz")
        for method in item:
            for token in ("", "wrong"):
                answer = admin.answer(method.upper(), re.sub(r"[{}]", "", path), token=token)
                assert (answer.status != 401) == is_probe, (method, path)
            answer = admin.answer(method.upper(), re.sub(r"[{}]", "", path), token=read)
            assert (answer.status == 403) == (method not in ("get", "head")), (method, path)


# -- callers ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(admin: Admin, gateway: RunningGateway) -> dict[int, str]:
    """Give a key for each status that it gets."""
    may_not = admin.make(providers=["groq"])["key"]
    with ExitStack() as stack:
        Callers(stack, gateway).wait_for(may_not, 403)
    return {401: make(), 403: may_not}


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.sdk("openai", "PyPI")
def test_openais_sdk_raises_its_own(gateway, keys, status):
    client = openai.OpenAI(base_url=f"{gateway.url}/openai/v1", api_key=keys[status])
    wanted = {401: openai.AuthenticationError, 403: openai.PermissionDeniedError}[status]
    with client, pytest.raises(wanted):
        client.models.list()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.sdk("anthropic", "PyPI")
def test_anthropics_sdk_raises_its_own(gateway, keys, status):
    client = anthropic.Anthropic(base_url=f"{gateway.url}/anthropic", api_key=keys[status])
    wanted = {401: anthropic.AuthenticationError, 403: anthropic.PermissionDeniedError}[status]
    with client, pytest.raises(wanted):
        client.messages.create(
            model="m", max_tokens=1, messages=[{"role": "user", "content": "Hi"}]
        )


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.sdk("google-genai", "PyPI")
def test_googles_sdk_raises_its_own(gateway, keys, status):
    options = genai.types.HttpOptions(base_url=f"{gateway.url}/google-ai-studio")
    client = genai.Client(api_key=keys[status], http_options=options)
    with pytest.raises(google_errors.ClientError) as caught:
        client.models.generate_content(model="m", contents="Hi")
    assert caught.value.code == status
    wanted = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
    assert caught.value.status == wanted[status]


# -- near misses, and what a look-up costs ---------------------------------------------------------


def near_misses(key: str, count: int) -> Iterator[bytes]:
    """Give what is nearly a key: a sign wrong, two exchanged, the checksum made to fit again."""
    written = key.encode()
    start = written[:-6]
    for _ in range(count):
        place = secrets.randbelow(len(written))
        sign = bytes([secrets.choice(ALPHABET)])
        typo = written[:place] + sign + written[place + 1 :]
        kind = secrets.randbelow(4)
        if kind == 0:
            typo = typo[:place] + typo[place + 1 :] + typo[place : place + 1]
        elif kind == 1 and place < len(start):
            typo = typo[:-6] + checksum(typo[:-6])
        elif kind == 2:
            typo = written[:20] + make().encode()[20:]  # the same to 20 characters
        if typo != written:
            yield typo


def test_no_near_miss_is_accepted(sizes: Sizes):
    key = make()
    settings = Config(keys=(static(key),), store="none")
    plugin = Plugin(settings)
    plan = plan_of(plugin, settings={NAME: settings})
    made = exchange(headers=[bearer(key)], plan=plan)
    plugin.authenticate(made)
    assert made.identity is not None
    tried = 0
    for typo in near_misses(key, sizes.near_misses):
        made = exchange(headers=[(b"x-api-key", typo)], plan=plan)
        with pytest.raises(Exception, match="none of this gateway's"):
            plugin.authenticate(made)
        tried += 1
    assert tried > sizes.near_misses * 0.9


def static(key: str, number: int = 0) -> StaticKey:
    return StaticKey(name=f"k{number}", hash=digest_of(key.encode()).hex())


def cost_us(count: int) -> float:
    """Give what it costs to verify a key among so many, in microseconds; the best of some."""
    keys = [make() for _ in range(count)]
    settings = Config(keys=tuple(static(key, n) for n, key in enumerate(keys)), store="none")
    plugin = Plugin(settings)
    plan = plan_of(plugin, settings={NAME: settings})
    fields = [bearer(keys[-1]), (b"Content-Type", b"application/json"), (b"Accept", b"*/*")]
    made = exchange(headers=[*fields, (b"User-Agent", b"OpenAI/Python")], body=b"{}", plan=plan)
    made.passed = Screen(BARE).pass_over(made).passed

    def verify() -> None:
        made.identity, made.consumed = None, ()
        plugin.authenticate(made)

    return (
        min(timeit.repeat(verify, timer=time.process_time, number=2_000, repeat=20)) / 2_000 * 1e6
    )


def test_among_ten_thousand_keys_one_costs_what_it_costs_alone():
    few, many = cost_us(1), cost_us(10_000)
    print(f"verified in {few:.2f} us among 1, in {many:.2f} us among 10,000")
    assert many < 3 * few + 1


# -- what the README shows -------------------------------------------------------------------------


def readme(kind: str) -> list[str]:
    """Give the blocks of that kind of the README's section."""
    text = (ROOT / "README.md").read_text("utf-8")
    section = text.partition("\n### Keys\n")[2].partition("\n### ")[0]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return [text for found, text in blocks if found == kind]


def test_the_readmes_one_key_for_all_opens_the_gateway(upstream):
    made = CliRunner().invoke(main, shlex.split(readme("sh")[0])[1:])
    key, digest = made.stdout.split()
    settings = tomllib.loads(readme("toml")[0])
    (row,) = settings["plugins"]["api_keys"]["keys"]
    assert set(row["hash"]) == {"0"}
    row["hash"] = digest
    settings["providers"] = {"openai": upstream.provider()}
    with (
        running_gateway(settings, plugins=settings.pop("enabled")) as gateway,
        ExitStack() as stack,
    ):
        callers = Callers(stack, gateway)
        assert callers.statuses(key) == {200}
        assert callers.statuses(make()) == {401}


def test_the_readmes_commands_do_what_they_say(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(f'state_dir = "{tmp_path}"\n')
    id_, printed = "", []
    for line in "".join(readme("sh")[1:]).splitlines():
        words = [id_ if word == "ID" else word for word in shlex.split(line)]
        assert words[0] == "weir"
        done = CliRunner().invoke(main, [*words[1:], "--config", str(file)])
        assert done.exit_code == 0, (line, done.output)
        printed.append(done.stdout)
        id_ = next(iter(re.findall(r"\bkey_[0-9a-f]{21}\b", done.stdout)), id_)
    assert orjson.loads(printed[-1])["team"] == "search"
    assert len(printed) == 8


def test_the_readmes_store_is_one_that_nodes_share(upstream, postgres):
    (_, text) = readme("toml")
    table = tomllib.loads(text)["plugins"]["api_keys"]
    assert table["store"].startswith("postgresql://")
    table["store"] = postgres.database()
    with ExitStack() as stack:
        nodes = [stack.enter_context(running(upstream, **table)) for _ in range(2)]
        made = Admin(nodes[0]).make()
        Callers(stack, *nodes).wait_for(made["key"], 200)


def test_the_readmes_scanner_finds_keys():
    pattern = readme("")[-1].strip()
    assert re.fullmatch(pattern, make())
    assert not re.search(pattern, make()[:-1])


def test_the_readme_lists_each_field_and_endpoint():
    text = (ROOT / "README.md").read_text("utf-8")
    section = text.partition("\n### Keys\n")[2].partition("\n### ")[0]
    for type_ in (StaticKey, Team):
        for field in msgspec.structs.fields(type_):
            assert f"`{field.name}`" in section
