"""A change becomes grants: of the keys it is about, of all of a team's, and of no others."""

from __future__ import annotations

from typing import Any

from plugins.api_keys.book import REVOKED, UNREADABLE, Book, Update
from plugins.api_keys.grants import NEVER_MS
from plugins.api_keys.records import Changes, KeyRow, SecretRow, TeamRow


def key(
    id_: str, *secrets: bytes, revoked_ms: int | None = None, ends_ms: int | None = None, **f: Any
) -> KeyRow:
    rows = [SecretRow(secrets[0], id_, "h", None)]
    rows += [SecretRow(secret, id_, "h", ends_ms) for secret in secrets[1:]]
    document = {"name": id_, **f}
    return KeyRow(id_, document, revoked_ms, 1, 1, b"", tuple(rows), 0, None)


def team(name: str, **fields: Any) -> TeamRow:
    return TeamRow(name, {"name": name, **fields}, 1, 1)


def turn(book: Book, *rows: KeyRow | TeamRow, **more: Any) -> Update:
    keys = {row.id: row for row in rows if isinstance(row, KeyRow)}
    teams = {row.name: row for row in rows if isinstance(row, TeamRow)}
    return book.turn(Changes(1, keys, teams, **more))


def test_each_secret_has_a_grant():
    update = turn(Book(), key("a", b"1", b"2", ends_ms=50, user="u"))
    assert {digest: grant.expires_ms for digest, grant in update.grants.items()} == {
        b"1": NEVER_MS,
        b"2": 50,
    }
    assert {grant.user for grant in update.grants.values()} == {"u"}
    assert all(grant.is_managed for grant in update.grants.values())


def test_a_changed_team_changes_its_keys_and_no_others():
    book = Book()
    first = turn(book, team("t"), key("a", b"1", team="t"), key("b", b"2"), everything=True)
    assert set(first.grants) == {b"1", b"2"}
    update = turn(book, team("t", rate_limits=["1/min"]))
    assert {d: grant.rates for d, grant in update.grants.items()} == {b"1": (("team", "1/min"),)}


def test_a_secret_that_is_no_more_is_gone():
    book = Book()
    turn(book, key("a", b"1"))
    update = turn(book, key("a", b"2"))
    assert (set(update.grants), update.gone, update.stopped) == ({b"2"}, {b"1"}, set())


def test_a_deleted_key_is_gone_and_stopped():
    book = Book()
    turn(book, key("a", b"1", b"2"), key("b", b"3"))
    update = turn(book, gone_keys=("a",))
    assert (update.grants, update.gone, update.stopped) == ({}, {b"1", b"2"}, {"a"})


def test_what_a_whole_reading_lacks_is_gone():
    book = Book()
    turn(book, key("a", b"1"), key("b", b"2"), everything=True)
    update = turn(book, key("b", b"2"), everything=True)
    assert (update.gone, update.stopped) == ({b"1"}, {"a"})


def test_a_revoked_or_disabled_key_is_stopped_and_says_why():
    book = Book()
    update = turn(book, key("a", b"1", revoked_ms=5), key("b", b"2", enabled=False))
    assert update.stopped == {"a", "b"}
    assert (update.grants[b"1"].fault, update.grants[b"2"].fault) == (
        REVOKED,
        "This key is disabled.",
    )


def test_a_disabled_team_stops_its_keys():
    book = Book()
    turn(book, team("t"), key("a", b"1", team="t"), key("b", b"2"))
    assert turn(book, team("t", enabled=False)).stopped == {"a"}


def test_what_this_version_cannot_read_lets_nobody_in():
    book = Book()
    update = turn(book, key("a", b"1", shiny=True), key("b", b"2", team="none"))
    assert [grant.fault for grant in update.grants.values()] == [UNREADABLE, UNREADABLE]
    update = turn(book, team("none", shiny=True), key("b", b"2", team="none"))
    assert update.grants[b"2"].fault == UNREADABLE
