"""What the store keeps of keys and teams, and the statements that read and write it.

Every change is a row of `api_changes` too, in the same transaction: who did what, when, to which
key or team, and what fields became. Other processes find by these rows what they have to read anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from gateway import now_ms

from .stores import Store

KEY: Final = "key"
TEAM: Final = "team"
# Changed subjects beyond this are read with everything else.
CHANGES_MAX: Final = 1000


class SecretRow(NamedTuple):
    """One secret of a key. until_ms: when it ends; None for the one of now."""

    digest: bytes
    key_id: str
    hint: str
    until_ms: int | None


class KeyRow(NamedTuple):
    """A key as it is kept. document: its fields."""

    id: str
    document: Mapping[str, Any]
    revoked_ms: int | None
    created_ms: int
    updated_ms: int
    made: bytes
    secrets: tuple[SecretRow, ...]
    uses: int
    used_ms: int | None

    @property
    def hint(self) -> str:
        return next((one.hint for one in self.secrets if one.until_ms is None), "")


class TeamRow(NamedTuple):
    """A team as it is kept. document: its fields."""

    name: str
    document: Mapping[str, Any]
    created_ms: int
    updated_ms: int


class Changes(NamedTuple):
    """What is different since a number of `api_changes`. everything: what is not here is gone."""

    seq: int
    keys: dict[str, KeyRow]
    teams: dict[str, TeamRow]
    gone_keys: tuple[str, ...] = ()
    gone_teams: tuple[str, ...] = ()
    everything: bool = False


_KEYS: Final = (
    "SELECT id, document, revoked_ms, created_ms, updated_ms, made, count, used_ms "
    "FROM api_keys LEFT JOIN api_uses ON key_id = id"
)
_SECRETS: Final = "SELECT digest, key_id, hint, until_ms FROM api_secrets"
_TEAMS: Final = "SELECT name, document, created_ms, updated_ms FROM api_teams"


async def changes_since(db: Store, seq: int) -> Changes:
    """What is different; everything for a number below 0."""
    last = int((await db.fetch("SELECT coalesce(max(seq), 0) FROM api_changes"))[0][0])
    if seq == last:
        return Changes(last, {}, {})
    rows: Sequence[Sequence[Any]] = ()
    if 0 <= seq < last:
        rows = await db.fetch(
            "SELECT DISTINCT kind, subject FROM api_changes WHERE seq > $1 LIMIT $2",
            seq,
            CHANGES_MAX,
        )
    if not rows or len(rows) == CHANGES_MAX:  # a store that was replaced by another counts anew
        return await _everything(db, last)
    keys, teams = {}, {}
    asked = {kind: [row[1] for row in rows if row[0] == kind] for kind in (KEY, TEAM)}
    for id_ in asked[KEY]:
        key = await get_key(db, id_)
        if key is not None:
            keys[id_] = key
    for name in asked[TEAM]:
        team = await get_team(db, name)
        if team is not None:
            teams[name] = team
    gone_keys = tuple(id_ for id_ in asked[KEY] if id_ not in keys)
    gone_teams = tuple(name for name in asked[TEAM] if name not in teams)
    return Changes(last, keys, teams, gone_keys, gone_teams)


async def _everything(db: Store, seq: int) -> Changes:
    teams = [_team(row) for row in await db.fetch(_TEAMS)]
    keys = _keys(await db.fetch(_KEYS), await db.fetch(_SECRETS))
    return Changes(
        seq, {key.id: key for key in keys}, {team.name: team for team in teams}, everything=True
    )


async def get_key(db: Store, id_: str) -> KeyRow | None:
    """A key by its id."""
    found = await db.fetch(f"{_KEYS} WHERE id = $1", id_)
    secrets = await db.fetch(f"{_SECRETS} WHERE key_id = $1", id_)
    return next(iter(_keys(found, secrets)), None)


async def get_asked(db: Store, asked: str) -> KeyRow | None:
    """A key by the Idempotency-Key of the request that made it."""
    found = await db.fetch("SELECT id FROM api_keys WHERE asked = $1", asked)
    return await get_key(db, found[0][0]) if found else None


async def get_team(db: Store, name: str) -> TeamRow | None:
    """A team by its name."""
    found = await db.fetch(f"{_TEAMS} WHERE name = $1", name)
    return _team(found[0]) if found else None


async def list_keys(db: Store, after: str, limit: int, team: str | None) -> list[KeyRow]:
    """Keys in the order of their ids, those behind one; of a team, or all."""
    text = f"{_KEYS} WHERE id > $1 AND ($3 = '' OR team = $3) ORDER BY id LIMIT $2"
    found = await db.fetch(text, after, limit, team or "")
    ids = [row[0] for row in found]
    if not ids:
        return []
    secrets = await db.fetch(f"{_SECRETS} WHERE key_id >= $1 AND key_id <= $2", min(ids), max(ids))
    return _keys(found, secrets)


async def list_teams(db: Store, after: str, limit: int) -> list[TeamRow]:
    """Teams in the order of their names, those behind one."""
    text = f"{_TEAMS} WHERE name > $1 ORDER BY name LIMIT $2"
    return [_team(row) for row in await db.fetch(text, after, limit)]


async def count_keys(db: Store, team: str) -> int:
    """How many keys a team has."""
    found = await db.fetch("SELECT count(*) FROM api_keys WHERE team = $1", team)
    return int(found[0][0])


async def add_key(
    db: Store, id_: str, document: Mapping[str, Any], asked: str | None, made: bytes
) -> None:
    """Take a new key, without a secret yet."""
    now = now_ms()
    text = "INSERT INTO api_keys VALUES ($1, $2, $3, NULL, $4, $5, $6, $7)"
    await db.fetch(text, id_, document["team"], _json(document), now, now, asked, made)


async def add_secret(db: Store, key_id: str, digest: bytes, hint: str) -> None:
    """Take a key's new secret."""
    await db.fetch("INSERT INTO api_secrets VALUES ($1, $2, $3, NULL)", digest, key_id, hint)


async def end_secrets(db: Store, key_id: str, until_ms: int) -> None:
    """Let the secrets of a key end then, unless they end earlier; those that have ended go."""
    await db.fetch(
        "UPDATE api_secrets SET until_ms = $2 WHERE key_id = $1 "
        "AND (until_ms IS NULL OR until_ms > $2)",
        key_id,
        until_ms,
    )
    await db.fetch("DELETE FROM api_secrets WHERE key_id = $1 AND until_ms <= $2", key_id, now_ms())


async def set_key(db: Store, id_: str, document: Mapping[str, Any]) -> None:
    """Give a key other fields."""
    text = "UPDATE api_keys SET document = $2, team = $3, updated_ms = $4 WHERE id = $1"
    await db.fetch(text, id_, _json(document), document["team"], now_ms())


async def set_revoked(db: Store, id_: str) -> None:
    """Revoke a key, for good."""
    now = now_ms()
    text = "UPDATE api_keys SET revoked_ms = $2, updated_ms = $3 WHERE id = $1"
    await db.fetch(text, id_, now, now)


async def drop_key(db: Store, id_: str) -> None:
    """Delete a key and all that belongs to it; what was done to it stays in `api_changes`."""
    await db.fetch("DELETE FROM api_secrets WHERE key_id = $1", id_)
    await db.fetch("DELETE FROM api_uses WHERE key_id = $1", id_)
    await db.fetch("DELETE FROM api_keys WHERE id = $1", id_)


async def add_team(db: Store, name: str, document: Mapping[str, Any]) -> None:
    """Take a new team."""
    now = now_ms()
    await db.fetch("INSERT INTO api_teams VALUES ($1, $2, $3, $4)", name, _json(document), now, now)


async def set_team(db: Store, name: str, document: Mapping[str, Any]) -> None:
    """Give a team other fields."""
    text = "UPDATE api_teams SET document = $2, updated_ms = $3 WHERE name = $1"
    await db.fetch(text, name, _json(document), now_ms())


async def drop_team(db: Store, name: str) -> None:
    """Delete a team."""
    await db.fetch("DELETE FROM api_teams WHERE name = $1", name)


async def note_change(
    db: Store, who: str, what: str, kind: str, subject: str, details: Mapping[str, Any]
) -> None:
    """Say who did what, in the transaction that does it. details: never a secret."""
    await db.fetch(
        "INSERT INTO api_changes (at_ms, who, what, kind, subject, details) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        now_ms(),
        who,
        what,
        kind,
        subject,
        _json(details),
    )


async def list_changes(
    db: Store, before: int, limit: int, subject: str | None
) -> list[dict[str, Any]]:
    """What was done, the latest first: up to a number, to one key or team or to all."""
    found = await db.fetch(
        "SELECT seq, at_ms, who, what, kind, subject, details FROM api_changes "
        "WHERE seq < $1 AND ($3 = '' OR subject = $3) ORDER BY seq DESC LIMIT $2",
        before,
        limit,
        subject or "",
    )
    names = ("seq", "at_ms", "who", "what", "kind", "subject")
    return [
        {**dict(zip(names, row, strict=False)), "details": orjson.loads(row[6])} for row in found
    ]


async def add_uses(db: Store, uses: Mapping[str, tuple[int, int]]) -> None:
    """Add to what is known of keys' use: by id, how often and when last."""
    for id_, (count, used_ms) in uses.items():
        await db.fetch(
            "INSERT INTO api_uses SELECT id, CAST($2 AS bigint), CAST($3 AS bigint) "
            "FROM api_keys WHERE id = $1 "
            "ON CONFLICT (key_id) DO UPDATE SET count = api_uses.count + excluded.count, "
            "used_ms = CASE WHEN excluded.used_ms > api_uses.used_ms "
            "THEN excluded.used_ms ELSE api_uses.used_ms END",
            id_,
            count,
            used_ms,
        )


def _keys(found: Sequence[Sequence[Any]], secrets: Sequence[Sequence[Any]]) -> list[KeyRow]:
    by_key: dict[str, list[SecretRow]] = {}
    for row in secrets:
        by_key.setdefault(row[1], []).append(SecretRow(bytes(row[0]), row[1], row[2], row[3]))
    return [
        KeyRow(
            row[0],
            orjson.loads(row[1]),
            row[2],
            row[3],
            row[4],
            bytes(row[5]),
            tuple(by_key.get(row[0], ())),
            row[6] or 0,
            row[7],
        )
        for row in found
    ]


def _team(row: Sequence[Any]) -> TeamRow:
    return TeamRow(row[0], orjson.loads(row[1]), row[2], row[3])


def _json(document: Mapping[str, Any]) -> str:
    return orjson.dumps(document).decode()
