"""The store's keys as this process knows them, and what becomes of a change.

It lives on the thread that watches the store: to work out ten thousand grants takes a moment, which
no request should wait for. What it gives goes to the requests' loop in one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from gateway import Secret, get_logger

from .fields import Key, Team
from .grants import Grant
from .keyring import Ring, secrets_of
from .records import Changes, KeyRow

log = get_logger("api_keys")

REVOKED = "This key was revoked."
# Of a record that this version cannot read, or whose team is not there.
UNREADABLE = "This key cannot be used: its record is not understood here."


class Update(NamedTuple):
    """What changes: grants by digest, digests that are gone, and keys that no longer work."""

    grants: Ring
    gone: set[bytes]
    stopped: set[str]


class Book:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._keys: dict[str, KeyRow] = {}
        self._teams: dict[str, tuple[Team, Mapping[str, Secret]] | None] = {}
        self._digests: dict[str, set[bytes]] = {}  # by key

    def turn(self, changes: Changes) -> Update:
        """Take changes in; what follows from them."""
        update = Update({}, set(), set())
        gone = set(changes.gone_keys)
        if changes.everything:
            gone |= self._keys.keys() - changes.keys.keys()
            self._teams.clear()
        for id_ in gone:
            self._keys.pop(id_, None)
            update.gone.update(self._digests.pop(id_, ()))
            update.stopped.add(id_)
        for name in changes.gone_teams:
            self._teams.pop(name, None)
        for name, team in changes.teams.items():
            self._teams[name] = self._read_team(name, team.document)
        self._keys.update(changes.keys)
        touched = {*changes.teams, *changes.gone_teams}
        for row in self._touched(changes, touched):
            self._write(row, update)
        return update

    def _touched(self, changes: Changes, teams: set[str]) -> Iterable[KeyRow]:
        if not teams:
            return changes.keys.values()
        rows = self._keys.values()
        return [row for row in rows if row.id in changes.keys or row.document.get("team") in teams]

    def _write(self, row: KeyRow, update: Update) -> None:
        digests = {secret.digest for secret in row.secrets}
        update.gone.update(self._digests.get(row.id, set()) - digests)
        self._digests[row.id] = digests
        for secret in row.secrets:
            grant = self._grant(row, secret.until_ms)
            update.grants[secret.digest] = grant
            if grant.fault:
                update.stopped.add(row.id)

    def _grant(self, row: KeyRow, until_ms: int | None) -> Grant:
        fault = "" if row.revoked_ms is None else REVOKED
        try:
            key = msgspec.convert(dict(row.document), Key)
        except msgspec.ValidationError as error:
            log.error("key_unreadable", key=row.id, error=str(error))
            name = str(row.document.get("name", ""))[:100] or row.id
            return Grant(row.id, Key(name=_plain(name)), None, is_managed=True, fault=UNREADABLE)
        team = self._teams.get(key.team)
        if key.team and team is None:
            fault = fault or UNREADABLE
        rules, secrets = (None, {}) if team is None else team
        return Grant(row.id, key, rules, secrets, is_managed=True, until_ms=until_ms, fault=fault)

    def _read_team(
        self, name: str, document: Mapping[str, object]
    ) -> tuple[Team, Mapping[str, Secret]] | None:
        try:
            team = msgspec.convert(dict(document), Team)
        except msgspec.ValidationError as error:
            log.error("team_unreadable", team=name, error=str(error))
            return None
        return team, secrets_of(team)


def _plain(name: str) -> str:
    return "".join(sign if sign.isalnum() else "-" for sign in name)
