"""What can be done with managed keys, in a store of each kind: once, whole, and on the record."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from plugins.api_keys.described import (
    ChangePage,
    ChangesAsked,
    KeyPage,
    KeysAsked,
    KeyShown,
    NewKey,
    Rotation,
    TeamPage,
    TeamsAsked,
    TeamShown,
)
from plugins.api_keys.desk import Fault, read, read_patch
from plugins.api_keys.fields import Team
from plugins.api_keys.format import digest_of, is_sound
from plugins.api_keys.records import changes_since, get_key
from tests.plugins.api_keys.opened import Opened


def status_of(opened: Opened, name: str, *arguments: Any) -> int:
    try:
        return opened.do(name, *arguments).status
    except Fault as fault:
        return fault.status


def kept(opened: Opened) -> str:
    """Give all that the store holds, as text."""
    tables = ("api_keys", "api_secrets", "api_teams", "api_uses", "api_changes")
    rows = [opened.run(opened.store.fetch(f"SELECT * FROM {name}")) for name in tables]
    return repr([[tuple(row) for row in table] for table in rows])


def test_a_key_is_made_and_shown_once(opened):
    done = opened.do("create_key", NewKey(name="a", user="anna"))
    assert done.status == 201
    key = done.document["key"]
    assert is_sound(key.encode())
    assert key.startswith("weir-")
    msgspec.convert(done.document, KeyShown)

    again = opened.do("get_key", done.document["id"]).document
    assert again == {name: value for name, value in done.document.items() if name != "key"}
    row = opened.run(get_key(opened.store, done.document["id"]))
    assert [secret.digest for secret in row.secrets] == [digest_of(key.encode())]
    assert key not in kept(opened)
    assert key[5:30] not in kept(opened)


@pytest.mark.parametrize("how", ["id", "field"])
def test_asking_twice_makes_one_key(opened, how):
    wanted = NewKey(name="a", id="mine" if how == "id" else "")
    asked = "once" if how == "field" else None
    first = opened.do("create_key", wanted, asked)
    second = opened.do("create_key", wanted, asked)

    assert (first.status, second.status) == (201, 200)
    assert second.document["id"] == first.document["id"]
    assert "key" not in second.document
    other = NewKey(name="b", id=wanted.id)
    assert status_of(opened, "create_key", other, asked) == 409
    assert len(opened.do("list_keys", KeysAsked()).document["keys"]) == 1


@pytest.mark.parametrize("id_", ["a b", "../x", "-", "a" * 101])
def test_an_id_that_cannot_stand_in_a_path_is_refused(in_file, id_):
    assert status_of(in_file, "create_key", NewKey(name="a", id=id_)) == 400


@pytest.mark.parametrize("asked", ["", "x" * 201])
def test_an_idempotency_key_has_bounds(in_file, asked):
    assert status_of(in_file, "create_key", NewKey(name="a"), asked) == 400


def test_keys_come_in_pages(opened):
    ids = [opened.do("create_key", NewKey(name=f"{n}")).document["id"] for n in range(5)]
    found, cursor, pages = [], "", 0
    while cursor is not None:
        page = opened.do("list_keys", KeysAsked(limit=2, cursor=cursor)).document
        msgspec.convert(page, KeyPage)
        found += [key["id"] for key in page["keys"]]
        cursor, pages = page["next"], pages + 1

    assert found == sorted(ids) == ids  # ids are in the order of time
    assert pages == 3


def test_keys_of_a_team_are_found(opened):
    opened.do("create_team", Team(name="t"))
    mine = opened.do("create_key", NewKey(name="a", team="t")).document["id"]
    opened.do("create_key", NewKey(name="b"))
    page = opened.do("list_keys", KeysAsked(team="t")).document
    assert [key["id"] for key in page["keys"]] == [mine]


def test_some_fields_change_and_null_takes_away(opened):
    id_ = opened.do("create_key", NewKey(name="a", models=("x",), user="u")).document["id"]
    done = opened.do("update_key", id_, {"models": ["y*"], "user": None, "enabled": False})

    assert done.document["models"] == ["y*"]
    assert (done.document["user"], done.document["name"]) == ("", "a")
    assert done.document["enabled"] is False


@pytest.mark.parametrize(
    "patch",
    [{"modles": []}, {"name": None}, {"id": "x"}, {"rate_limits": ["fast"]}, {"hint": "x"}],
)
def test_a_change_to_nonsense_changes_nothing(in_file, patch):
    id_ = in_file.do("create_key", NewKey(name="a")).document["id"]
    assert status_of(in_file, "update_key", id_, patch) == 400
    assert in_file.do("get_key", id_).document["name"] == "a"
    assert len(in_file.do("list_changes", ChangesAsked()).document["changes"]) == 1


def test_a_rotated_key_has_two_secrets_for_a_while(opened):
    made = opened.do("create_key", NewKey(name="a")).document
    done = opened.do("rotate_key", made["id"], Rotation("24h")).document

    assert done["key"] != made["key"]
    assert [ending["hint"] for ending in done["ending"]] == [made["hint"]]
    row = opened.run(get_key(opened.store, made["id"]))
    untils = {secret.digest: secret.until_ms for secret in row.secrets}
    assert untils[digest_of(done["key"].encode())] is None
    until = untils[digest_of(made["key"].encode())]
    assert 86_390_000 < until - row.updated_ms < 86_410_000


def test_a_second_rotation_does_not_make_the_first_secret_live_longer(opened):
    made = opened.do("create_key", NewKey(name="a")).document
    first = opened.do("rotate_key", made["id"], Rotation("1h")).document["ending"]
    second = opened.do("rotate_key", made["id"], Rotation("9h")).document["ending"]
    assert first[0] in second
    assert len(second) == 2


def test_without_grace_the_old_secret_is_gone(opened):
    made = opened.do("create_key", NewKey(name="a")).document
    done = opened.do("rotate_key", made["id"], Rotation()).document
    assert done["ending"] == []
    row = opened.run(get_key(opened.store, made["id"]))
    assert len(row.secrets) == 1


def test_a_revoked_key_stays_revoked(opened):
    id_ = opened.do("create_key", NewKey(name="a")).document["id"]
    first = opened.do("revoke_key", id_).document
    assert first["revoked_at"] is not None
    assert opened.do("revoke_key", id_).document == first
    assert status_of(opened, "update_key", id_, {"enabled": True}) == 409
    assert status_of(opened, "rotate_key", id_, Rotation()) == 409
    assert opened.do("delete_key", id_).document == {"deleted": id_}
    assert status_of(opened, "get_key", id_) == 404


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("get_key", ()),
        ("update_key", ({},)),
        ("rotate_key", (Rotation(),)),
        ("revoke_key", ()),
        ("delete_key", ()),
        ("get_team", ()),
        ("update_team", ({},)),
        ("delete_team", ()),
    ],
)
def test_what_is_not_there_is_a_404(in_file, name, arguments):
    assert status_of(in_file, name, "none", *arguments) == 404


def test_a_key_has_a_team_that_is_there(opened):
    assert status_of(opened, "create_key", NewKey(name="a", team="t")) == 404
    done = opened.do("create_team", Team(name="t", models=("x",)))
    assert done.status == 201
    msgspec.convert(done.document, TeamShown)
    id_ = opened.do("create_key", NewKey(name="a", team="t")).document["id"]
    assert status_of(opened, "update_key", id_, {"team": "u"}) == 404
    assert status_of(opened, "delete_team", "t") == 409
    opened.do("update_key", id_, {"team": None})
    assert status_of(opened, "delete_team", "t") == 200


def test_a_team_made_twice_is_one(opened):
    assert opened.do("create_team", Team(name="t")).status == 201
    assert opened.do("create_team", Team(name="t")).status == 200
    assert status_of(opened, "create_team", Team(name="t", models=("x",))) == 409
    done = opened.do("update_team", "t", {"provider_keys": {"openai": "env:T"}})
    assert done.document["provider_keys"] == {"openai": "env:T"}
    assert status_of(opened, "update_team", "t", {"name": "u"}) == 400
    assert status_of(opened, "update_team", "t", {"provider_keys": {"openai": "sk-1"}}) == 400
    page = opened.do("list_teams", TeamsAsked()).document
    assert [team.name for team in msgspec.convert(page, TeamPage).teams] == ["t"]


def test_each_change_is_on_the_record(opened):
    opened.do("create_team", Team(name="t"))
    made = opened.do("create_key", NewKey(name="a", id="k")).document
    opened.do("update_key", "k", {"tags": ["x"]})
    rotated = opened.do("rotate_key", "k", Rotation("1h")).document
    opened.do("revoke_key", "k")
    opened.do("delete_key", "k")
    opened.do("delete_team", "t")

    page = opened.do("list_changes", ChangesAsked()).document
    changes = msgspec.convert(page, ChangePage).changes
    assert [(change.what, change.kind, change.subject) for change in reversed(changes)] == [
        ("create", "team", "t"),
        ("create", "key", "k"),
        ("update", "key", "k"),
        ("rotate", "key", "k"),
        ("revoke", "key", "k"),
        ("delete", "key", "k"),
        ("delete", "team", "t"),
    ]
    assert {change.who for change in changes} == {"tests"}
    assert changes[4].details == {"tags": ["x"]}
    for key in (made["key"], rotated["key"]):
        assert key not in kept(opened)
        assert digest_of(key.encode()).hex() not in repr(page)
    some = opened.do("list_changes", ChangesAsked(subject="k", limit=2)).document
    assert [change["what"] for change in some["changes"]] == ["delete", "revoke"]
    rest = opened.do("list_changes", ChangesAsked(subject="k", cursor=some["next"])).document
    assert [change["what"] for change in rest["changes"]] == ["rotate", "update", "create"]


def test_what_is_hostile_is_kept_as_it_is(opened):
    tag = "'; DROP TABLE api_keys; --"
    done = opened.do("create_key", NewKey(name="a", tags=(tag,), metadata={"$1": "?1 %s"}))
    shown = opened.do("get_key", done.document["id"]).document
    assert (shown["tags"], shown["metadata"]) == ([tag], {"$1": "?1 %s"})
    assert status_of(opened, "get_key", "' OR 1=1 --") == 404


def test_what_is_refused_leaves_no_trace(opened):
    before = opened.run(changes_since(opened.store, -1)).seq
    assert status_of(opened, "create_key", NewKey(name="a", team="none")) == 404
    assert opened.run(changes_since(opened.store, -1)).seq == before
    assert opened.do("list_keys", KeysAsked()).document["keys"] == []


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"name": 1}', b"\xff", b'{"name":"a","x":1}'])
def test_a_body_that_is_none_says_so(body):
    with pytest.raises(Fault) as caught:
        read(NewKey, body)
    assert caught.value.status == 400


@pytest.mark.parametrize("body", [b"[]", b"{", b"1", b""])
def test_a_change_is_an_object(body):
    with pytest.raises(Fault) as caught:
        read_patch(body)
    assert caught.value.status == 400


def test_a_grace_is_a_duration():
    assert Rotation("24h").duration == 86_400_000_000_000
    with pytest.raises(ValueError, match=r"^grace: "):
        Rotation("soon")
