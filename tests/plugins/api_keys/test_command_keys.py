"""The commands do the same with a gateway and without one."""

from __future__ import annotations

import shlex
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.testing import RawCaller, RunningGateway, ScriptedUpstream, running_gateway
from plugins.api_keys.format import digest_of, is_sound, make


class Weir:
    """The commands, with one configuration. online: through the gateway that runs with it."""

    def __init__(self, config: Path, *more: str) -> None:
        self._more = ("--config", str(config), *more)

    def run(self, *arguments: str, given: str | None = None) -> Result:
        return CliRunner().invoke(main, [*arguments, *self._more], input=given)

    def json(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = orjson.loads(done.stdout)
        return found


@pytest.fixture(scope="module")
def gateway(upstream: ScriptedUpstream) -> Iterator[RunningGateway]:
    settings = {"providers": {"openai": upstream.provider()}}
    with running_gateway(settings, plugins=["api_keys"]) as made:
        yield made


@pytest.fixture(params=["online", "offline"])
def weir(request: pytest.FixtureRequest, tmp_path: Path) -> Weir:
    """Give the commands with a gateway that runs, and with none."""
    if request.param == "online":
        gateway = request.getfixturevalue("gateway")
        return Weir(gateway.config_file, "--url", gateway.admin_url)
    file = tmp_path / "config.toml"
    file.write_text(f'state_dir = "{tmp_path / "state"}"\n')
    return Weir(file)


def test_a_key_is_made_shown_changed_rotated_revoked_and_deleted(weir):
    made = weir.json("keys", "create", "--name", "a")
    assert is_sound(made["key"].encode())
    id_ = made["id"]
    assert "key" not in weir.json("keys", "show", id_)
    assert weir.json("keys", "update", id_, "--model", "a*", "--model", "b")["models"] == [
        "a*",
        "b",
    ]
    assert weir.json("keys", "update", id_, "--clear", "models")["models"] == []
    rotated = weir.json("keys", "rotate", id_, "--grace", "24h")
    assert rotated["key"] != made["key"]
    assert len(rotated["ending"]) == 1
    assert id_ in [key["id"] for key in weir.json("keys", "list")["keys"]]
    assert weir.json("keys", "revoke", id_)["revoked_at"]
    changes = weir.json("keys", "changes", "--subject", id_)["changes"]
    assert [change["what"] for change in reversed(changes)] == [
        "create", "update", "update", "rotate", "revoke"
    ]  # fmt: skip
    assert weir.json("keys", "delete", id_) == {"deleted": id_}
    assert weir.run("keys", "show", id_).exit_code == 1


def test_all_fields_have_options(weir):
    options = shlex.split(
        "--user anna --gateway default --provider openai --model m* --deny-model x --path v1/* "
        "--rate 50/min --tag t --network 10.0.0.0/8 --expires 2099-01-01 --metadata plan=free "
        "--metadata n=7 --metadata on=true --disabled"
    )
    made = weir.json("keys", "create", "--name", "a", "--budget", "200 USD/month", *options)
    assert made["metadata"] == {"plan": "free", "n": 7, "on": True}
    shown = {name: made[name] for name in ("user", "gateways", "providers", "denied_models")}
    assert shown == {
        "user": "anna",
        "gateways": ["default"],
        "providers": ["openai"],
        "denied_models": ["x"],
    }
    assert (made["paths"], made["rate_limits"]) == (["v1/*"], ["50/min"])
    assert (made["budgets"], made["tags"]) == (["200 USD/month"], ["t"])
    assert (made["networks"], made["expires"]) == (["10.0.0.0/8"], "2099-01-01")
    assert made["enabled"] is False


def test_an_end_may_be_given_from_now(weir):
    made = weir.json("keys", "create", "--name", "a", "--expires", "30d")
    assert made["created_at"][:8] != made["expires"][:8]
    assert made["expires"].endswith("+00:00")


def test_text_is_for_people(weir):
    done = weir.run("keys", "create", "--name", "Anna", "--id", f"anna-{id(weir)}")
    assert done.exit_code == 0, done.output
    assert "shown this once" in done.stderr
    key = done.stdout.split()[-1]
    assert is_sound(key.encode())
    listed = weir.run("keys", "list").stdout
    assert "Anna" in listed
    assert key not in listed
    shown = weir.run("keys", "show", f"anna-{id(weir)}").stdout
    assert key not in shown
    again = weir.run("keys", "create", "--name", "Anna", "--id", f"anna-{id(weir)}")
    assert "was there already" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("keys", "show", "none"), "there is no key none"),
        (("keys", "create", "--name", "a", "--rate", "fast"), "rate_limits: "),
        (("keys", "create", "--name", "a", "--team", "none"), "there is no team none"),
        (("keys", "rotate", "none", "--grace", "soon"), "grace: "),
        (("keys", "update", "none", "--clear", "nothing"), "there is no key none"),
        (("teams", "show", "none"), "there is no team none"),
        (("teams", "create", "--name", "a b"), "name: "),
    ],
)
def test_what_cannot_be_done_says_why(weir, arguments, fault):
    done = weir.run(*arguments)
    assert done.exit_code == 1
    assert fault in done.stderr


def test_who_did_it_is_on_the_record(weir):
    made = weir.json("keys", "create", "--name", "a")
    (change,) = weir.json("keys", "changes", "--subject", made["id"])["changes"]
    assert change["who"].startswith(("admin token, ", "command, "))
    assert change["at"]


def test_a_key_made_without_a_gateway_works_in_one_that_runs(gateway):
    made = Weir(gateway.config_file, "--offline").json("keys", "create", "--name", "a")
    status, patient_until = 0, time.monotonic() + 5
    with RawCaller(gateway.port) as caller:
        while status != 200 and time.monotonic() < patient_until:
            bearer = (b"Authorization", b"Bearer " + made["key"].encode())
            caller.request(b"GET", b"/openai/v1/models", bearer)
            status = caller.answer().status
    assert status == 200
    with sqlite3.connect(gateway.folder / "state" / "keys.db") as db:
        assert made["key"] not in "\n".join(db.iterdump())
    db.close()


def test_a_store_that_is_away_says_so(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(
        f'state_dir = "{tmp_path}"\n[plugins.api_keys]\nstore = "postgresql://a@127.0.0.1:1/x"\n'
    )
    done = Weir(file).run("keys", "list")
    assert done.exit_code == 1
    assert "the store of keys: postgresql: " in done.stderr


def test_without_a_store_there_is_nothing_to_manage(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(f'state_dir = "{tmp_path}"\n[plugins.api_keys]\nstore = "none"\n')
    done = Weir(file).run("keys", "list")
    assert done.exit_code == 1
    assert "weir keys hash" in done.stderr


@pytest.fixture
def plain(tmp_path: Path) -> Weir:
    file = tmp_path / "config.toml"
    file.write_text('[plugins.api_keys]\nprefix = "sk-"\n')
    return Weir(file)


def test_a_hash_is_that_of_the_key_on_standard_input(plain):
    key = make()
    done = plain.run("keys", "hash", given=f"{key}\n")
    assert done.stdout.split() == [digest_of(key.encode()).hex()]


def test_a_new_key_is_shown_with_its_hash(plain):
    found = plain.json("keys", "hash", "--new")
    assert found["key"].startswith("sk-")
    assert is_sound(found["key"].encode())
    assert found["hash"] == digest_of(found["key"].encode()).hex()
    key, digest = plain.run("keys", "hash", "--new").stdout.split()
    assert digest == digest_of(key.encode()).hex()


@pytest.mark.parametrize("given", ["", "\n", "a b", "a\x00", "ä"])
def test_what_is_no_key_has_no_hash(plain, given):
    assert plain.run("keys", "hash", given=given).exit_code == 2
