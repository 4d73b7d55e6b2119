"""What can be done with managed keys and teams: the same for the API and for commands.

Each takes a database and gives a status and a document. Whatever is done twice by mistake is done
once: the same id, or the same Idempotency-Key, with the same wishes gives the key that is there,
without its secret, which was shown once; with other wishes it is a 409.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import orjson

from gateway import now_ms

from . import records
from .described import ChangesAsked, KeysAsked, NewKey, Rotation, TeamsAsked
from .fields import Key, Team, check_id
from .format import digest_of, hint_of, make
from .records import KEY, TEAM, KeyRow, TeamRow
from .stores import Store

ASKED_CHARS_MAX: Final = 200
S = TypeVar("S", bound=msgspec.Struct)


class Fault(Exception):
    """What was asked cannot be done. status: as of HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Done(NamedTuple):
    """status: as of HTTP. document: what to say."""

    status: int
    document: dict[str, Any]


_made: Final = itertools.count()


def _new_id() -> str:
    """An id for a key: its millisecond, so that lists are in the order of time, a number that
    counts up for those of one millisecond, and a random rest for other processes.
    """
    return f"key_{now_ms():011x}{next(_made) & 0xFFFF:04x}{secrets.token_hex(3)}"


def read(type_: type[S], body: bytes) -> S:
    """A body as a struct; `Fault` says what is wrong with it."""
    try:
        return msgspec.json.decode(body or b"{}", type=type_)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Fault(400, str(error)) from None


def read_patch(body: bytes) -> dict[str, Any]:
    """The fields of a change."""
    try:
        patch = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Fault(400, f"not JSON: {error}") from None
    if not isinstance(patch, dict):
        raise Fault(400, 'wanted an object, such as {"enabled": false}')
    return patch


class Desk:
    """prefix: what new keys begin with. who: the one who asks, for the record."""

    def __init__(self, prefix: str, who: str) -> None:
        self._prefix = prefix
        self._who = who

    # -- keys --------------------------------------------------------------------------------------

    async def create_key(self, db: Store, wanted: NewKey, asked: str | None = None) -> Done:
        """Make a key. asked: the request's Idempotency-Key."""
        fields = _fields(Key, wanted)
        made = _fingerprint({**fields, "id": wanted.id})
        if wanted.id:
            _check(check_id, "id", wanted.id)
        if asked is not None and not 1 <= len(asked) <= ASKED_CHARS_MAX:
            raise Fault(400, f"Idempotency-Key: wanted 1 to {ASKED_CHARS_MAX} characters")
        async with db.changing(tell=True):
            found = None if asked is None else await records.get_asked(db, asked)
            if found is None and wanted.id:
                found = await records.get_key(db, wanted.id)
            if found is not None:
                if found.made != made:
                    raise Fault(409, f"there is another key {found.id}; ask for another one")
                return Done(200, _shown(found))
            await self._check_team(db, fields)
            id_ = wanted.id or _new_id()
            await records.add_key(db, id_, fields, asked, made)
            key = await self._new_secret(db, id_)
            await self._note(db, "create", KEY, id_, fields)
            return Done(201, {**await self._show(db, id_), "key": key})

    async def list_keys(self, db: Store, asked: KeysAsked) -> Done:
        rows = await records.list_keys(db, asked.cursor, asked.limit + 1, asked.team)
        shown = [_shown(row) for row in rows[: asked.limit]]
        return Done(200, {"keys": shown, "next": _next(rows, asked.limit, "id", shown)})

    async def get_key(self, db: Store, id_: str) -> Done:
        return Done(200, await self._show(db, id_))

    async def update_key(self, db: Store, id_: str, patch: Mapping[str, Any]) -> Done:
        """Change some fields."""
        async with db.changing(tell=True):
            row = await self._live(db, id_)
            fields = _patched(Key, row.document, patch)
            await self._check_team(db, fields)
            await records.set_key(db, id_, fields)
            await self._note(db, "update", KEY, id_, _among(fields, patch))
            return Done(200, await self._show(db, id_))

    async def rotate_key(self, db: Store, id_: str, rotation: Rotation) -> Done:
        """Give a key a new secret."""
        async with db.changing(tell=True):
            await self._live(db, id_)
            until_ms = now_ms() + rotation.duration // 1_000_000
            await records.end_secrets(db, id_, until_ms)
            key = await self._new_secret(db, id_)
            await self._note(db, "rotate", KEY, id_, {"grace": rotation.grace})
            return Done(200, {**await self._show(db, id_), "key": key})

    async def revoke_key(self, db: Store, id_: str) -> Done:
        """Revoke a key, for good; once more changes nothing."""
        async with db.changing(tell=True):
            row = await self._row(db, id_)
            if row.revoked_ms is None:
                await records.set_revoked(db, id_)
                await self._note(db, "revoke", KEY, id_, {})
            return Done(200, await self._show(db, id_))

    async def delete_key(self, db: Store, id_: str) -> Done:
        async with db.changing(tell=True):
            row = await self._row(db, id_)
            await records.drop_key(db, id_)
            await self._note(db, "delete", KEY, id_, row.document)
            return Done(200, {"deleted": id_})

    # -- teams -------------------------------------------------------------------------------------

    async def create_team(self, db: Store, wanted: Team) -> Done:
        """Make a team; the same one again changes nothing."""
        fields = _fields(Team, wanted)
        async with db.changing(tell=True):
            found = await records.get_team(db, wanted.name)
            if found is not None:
                if found.document != fields:
                    raise Fault(409, f"there is another team {wanted.name}; change that one")
                return Done(200, _shown_team(found))
            await records.add_team(db, wanted.name, fields)
            await self._note(db, "create", TEAM, wanted.name, fields)
            return Done(201, await self._show_team(db, wanted.name))

    async def list_teams(self, db: Store, asked: TeamsAsked) -> Done:
        rows = await records.list_teams(db, asked.cursor, asked.limit + 1)
        shown = [_shown_team(row) for row in rows[: asked.limit]]
        return Done(200, {"teams": shown, "next": _next(rows, asked.limit, "name", shown)})

    async def get_team(self, db: Store, name: str) -> Done:
        return Done(200, await self._show_team(db, name))

    async def update_team(self, db: Store, name: str, patch: Mapping[str, Any]) -> Done:
        """Change some fields."""
        if patch.get("name", name) != name:
            raise Fault(400, "name: a team keeps its name; make another one")
        async with db.changing(tell=True):
            row = await self._team(db, name)
            fields = _patched(Team, row.document, patch)
            await records.set_team(db, name, fields)
            await self._note(db, "update", TEAM, name, _among(fields, patch))
            return Done(200, await self._show_team(db, name))

    async def delete_team(self, db: Store, name: str) -> Done:
        async with db.changing(tell=True):
            row = await self._team(db, name)
            count = await records.count_keys(db, name)
            if count:
                raise Fault(409, f"team {name} has {count} keys; delete or move them first")
            await records.drop_team(db, name)
            await self._note(db, "delete", TEAM, name, row.document)
            return Done(200, {"deleted": name})

    async def list_changes(self, db: Store, asked: ChangesAsked) -> Done:
        """What was done, the latest first."""
        before = int(asked.cursor) if asked.cursor.isdecimal() else 1 << 62
        rows = await records.list_changes(db, before, asked.limit + 1, asked.subject)
        shown = [_shown_change(row) for row in rows[: asked.limit]]
        return Done(200, {"changes": shown, "next": _next(rows, asked.limit, "seq", shown)})

    # -- inner -------------------------------------------------------------------------------------

    async def _new_secret(self, db: Store, id_: str) -> str:
        key = make(self._prefix)
        await records.add_secret(db, id_, digest_of(key.encode()), hint_of(key))
        return key

    async def _note(
        self, db: Store, what: str, kind: str, subject: str, details: Mapping[str, Any]
    ) -> None:
        await records.note_change(db, self._who, what, kind, subject, details)

    async def _check_team(self, db: Store, fields: Mapping[str, Any]) -> None:
        name = fields["team"]
        if name and await records.get_team(db, name) is None:
            raise Fault(404, f"team: there is no team {name}; make it first")

    async def _row(self, db: Store, id_: str) -> KeyRow:
        row = await records.get_key(db, id_)
        if row is None:
            raise Fault(404, f"there is no key {id_[:100]}")
        return row

    async def _live(self, db: Store, id_: str) -> KeyRow:
        row = await self._row(db, id_)
        if row.revoked_ms is not None:
            raise Fault(409, f"key {id_} was revoked, which is for good; make another one")
        return row

    async def _team(self, db: Store, name: str) -> TeamRow:
        row = await records.get_team(db, name)
        if row is None:
            raise Fault(404, f"there is no team {name[:100]}")
        return row

    async def _show(self, db: Store, id_: str) -> dict[str, Any]:
        return _shown(await self._row(db, id_))

    async def _show_team(self, db: Store, name: str) -> dict[str, Any]:
        return _shown_team(await self._team(db, name))


def _fields(type_: type[msgspec.Struct], wanted: msgspec.Struct) -> dict[str, Any]:
    """The fields that a type has, of a struct that may have more, as they are kept."""
    names = [field.name for field in msgspec.structs.fields(type_)]
    plain: dict[str, Any] = orjson.loads(msgspec.json.encode(wanted))  # lists, not tuples
    return {name: plain[name] for name in names}


def _patched(
    type_: type[msgspec.Struct], document: Mapping[str, Any], patch: Mapping[str, Any]
) -> dict[str, Any]:
    fields = {**document, **patch}
    fields = {name: value for name, value in fields.items() if value is not None}
    try:
        return _fields(type_, msgspec.convert(fields, type_))
    except msgspec.ValidationError as error:
        raise Fault(400, str(error)) from None


def _among(fields: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    return {name: fields.get(name) for name in patch}


def _fingerprint(fields: Mapping[str, Any]) -> bytes:
    return sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).digest()


def _check(check: Any, field: str, text: str) -> None:
    try:
        check(field, text)
    except ValueError as error:
        raise Fault(400, str(error)) from None


def _next(rows: list[Any], limit: int, name: str, shown: list[dict[str, Any]]) -> str | None:
    return str(shown[-1][name]) if len(rows) > limit else None


def _shown(row: KeyRow) -> dict[str, Any]:
    return {
        "id": row.id,
        **row.document,
        "hint": row.hint,
        "created_at": _time(row.created_ms),
        "updated_at": _time(row.updated_ms),
        "revoked_at": _time(row.revoked_ms),
        "last_used_at": _time(row.used_ms),
        "uses": row.uses,
        "ending": [
            {"hint": secret.hint, "until": _time(secret.until_ms)}
            for secret in row.secrets
            if secret.until_ms is not None and secret.until_ms > now_ms()
        ],
    }


def _shown_team(row: TeamRow) -> dict[str, Any]:
    times = {"created_at": _time(row.created_ms), "updated_at": _time(row.updated_ms)}
    return {**row.document, **times}


def _shown_change(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("seq", "who", "what", "kind", "subject", "details")
    return {"at": _time(row["at_ms"]), **{name: row[name] for name in names}}


def _time(ms: int | None) -> str | None:
    if ms is None:
        return None
    text = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
