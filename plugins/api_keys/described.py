"""What is asked of the endpoints under /api/keys and /api/teams, and what they answer."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from gateway import Doc, Duration, ErrorAnswer, parse_duration

from .fields import Key, Team

LIMIT_MAX = 1000
Limit = Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX)]


class NewKey(Key, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key to be made.

    id: What it is to be called in paths and rows; one is made where left out.
    """

    id: str = ""


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new secret for a key.

    grace: How long the secret of now goes on working, such as "24h".
    """

    grace: str | int = 0

    def __post_init__(self) -> None:
        self.duration  # noqa: B018 - it raises where that is none

    @property
    def duration(self) -> Duration:
        try:
            return parse_duration(self.grace)
        except ValueError as error:
            raise ValueError(f"grace: {error}") from None


class KeyShown(Key, frozen=True, kw_only=True):
    """A key as it is kept.

    id: What it is called in paths and rows.
    hint: How its secret begins and ends.
    key: Its secret, in the answer that made it and never again.
    created_at: When it was made.
    updated_at: When it was last changed.
    revoked_at: When it was revoked; null if it was not.
    last_used_at: When it was last used, to a few seconds; null if it was not.
    uses: How often, likewise.
    ending: Older secrets that still work.
    """

    id: str
    hint: str
    created_at: str
    updated_at: str
    revoked_at: str | None
    last_used_at: str | None
    uses: int
    ending: tuple[Ending, ...]
    key: str | msgspec.UnsetType = msgspec.UNSET


class Ending(msgspec.Struct, frozen=True):
    """An older secret.

    hint: How it begins and ends.
    until: When it ends.
    """

    hint: str
    until: str


class KeyPage(msgspec.Struct, frozen=True):
    """Keys in the order of their ids.

    keys: At most `limit` of them.
    next: The `cursor` of those behind them; null where there are none.
    """

    keys: list[KeyShown]
    next: str | None


class TeamShown(Team, frozen=True, kw_only=True):
    """A team as it is kept.

    created_at: When it was made.
    updated_at: When it was last changed.
    """

    created_at: str
    updated_at: str


class TeamPage(msgspec.Struct, frozen=True):
    """Teams in the order of their names.

    teams: At most `limit` of them.
    next: The `cursor` of those behind them; null where there are none.
    """

    teams: list[TeamShown]
    next: str | None


class Change(msgspec.Struct, frozen=True):
    """What somebody did.

    seq: Its number.
    at: When.
    who: Who did it, as far as is known.
    what: "create", "update", "rotate", "revoke" or "delete".
    kind: "key" or "team".
    subject: The key's id or the team's name.
    details: The fields that were set.
    """

    seq: int
    at: str
    who: str
    what: str
    kind: str
    subject: str
    details: dict[str, Any]


class ChangePage(msgspec.Struct, frozen=True):
    """Changes, the latest first.

    changes: At most `limit` of them.
    next: The `cursor` of those before them; null where there are none.
    """

    changes: list[Change]
    next: str | None


class Deleted(msgspec.Struct, frozen=True):
    """It is gone.

    deleted: What it was called.
    """

    deleted: str


class KeysAsked(msgspec.Struct, frozen=True):
    """Which keys are wanted.

    team: Of this team.
    limit: At most so many.
    cursor: Those behind this one.
    """

    team: str = ""
    limit: Limit = 100
    cursor: str = ""


class TeamsAsked(msgspec.Struct, frozen=True):
    """Which teams are wanted.

    limit: At most so many.
    cursor: Those behind this one.
    """

    limit: Limit = 100
    cursor: str = ""


class ChangesAsked(msgspec.Struct, frozen=True):
    """Which changes are wanted.

    subject: Of this key's id or team's name.
    limit: At most so many.
    cursor: Those before this one.
    """

    subject: str = ""
    limit: Limit = 100
    cursor: str = ""


_WRONG = {400: ErrorAnswer, 503: ErrorAnswer}
_MISSED = {**_WRONG, 404: ErrorAnswer}
_AT_ODDS = {**_MISSED, 409: ErrorAnswer}
_KEY = "/api/keys/{id}"
_TEAM = "/api/teams/{name}"
DOCS = {
    ("POST", "/api/keys"): Doc(
        "Make a key; with an Idempotency-Key field or an id, once however often it is asked.",
        body=NewKey,
        answers={201: KeyShown, 200: KeyShown, **_AT_ODDS},
    ),
    ("GET", "/api/keys"): Doc("List keys.", query=KeysAsked, answers={200: KeyPage, **_WRONG}),
    ("GET", _KEY): Doc("Show a key.", answers={200: KeyShown, **_MISSED}),
    ("PATCH", _KEY): Doc(
        "Change some fields of a key; null takes one away.",
        body=dict[str, Any],
        answers={200: KeyShown, **_AT_ODDS},
    ),
    ("DELETE", _KEY): Doc("Delete a key.", answers={200: Deleted, **_MISSED}),
    ("POST", f"{_KEY}/rotate"): Doc(
        "Give a key a new secret.", body=Rotation, answers={200: KeyShown, **_AT_ODDS}
    ),
    ("POST", f"{_KEY}/revoke"): Doc("Revoke a key for good.", answers={200: KeyShown, **_MISSED}),
    ("POST", "/api/teams"): Doc(
        "Make a team; asking for the same one twice changes nothing.",
        body=Team,
        answers={201: TeamShown, 200: TeamShown, **_AT_ODDS},
    ),
    ("GET", "/api/teams"): Doc("List teams.", query=TeamsAsked, answers={200: TeamPage, **_WRONG}),
    ("GET", _TEAM): Doc("Show a team.", answers={200: TeamShown, **_MISSED}),
    ("PATCH", _TEAM): Doc(
        "Change some fields of a team; null takes one away.",
        body=dict[str, Any],
        answers={200: TeamShown, **_MISSED},
    ),
    ("DELETE", _TEAM): Doc("Delete a team that has no keys.", answers={200: Deleted, **_AT_ODDS}),
    ("GET", "/api/key-changes"): Doc(
        "List what was done to keys and teams.",
        query=ChangesAsked,
        answers={200: ChangePage, **_WRONG},
    ),
}
