"""The endpoints under /api/keys and /api/teams on the operator's listener."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import orjson
from aiohttp import web

from gateway import Endpoint, StoreAway, StoreRefused, get_logger, read_query

from .described import DOCS, ChangesAsked, KeysAsked, NewKey, Rotation, TeamsAsked
from .desk import Desk, Done, Fault, read, read_patch
from .fields import Team
from .stores import Store
from .watching import Watcher

log = get_logger("api_keys")

Handler = Callable[[web.Request], Awaitable[web.Response]]
Work = Callable[[Store], Coroutine[Any, Any, Done]]
# What commands say of who gave them (see `.asking`).
ACTOR = "weir-actor"
_ACTOR_CHARS_MAX = 100


def endpoints(watcher: Watcher, prefix: str) -> list[Endpoint]:
    """What the plugin serves."""
    api = Api(watcher, prefix)
    key, team = "/api/keys/{id}", "/api/teams/{name}"
    served: list[tuple[str, str, Handler]] = [
        ("POST", "/api/keys", api.create_key),
        ("GET", "/api/keys", api.list_keys),
        ("GET", key, api.get_key),
        ("PATCH", key, api.update_key),
        ("DELETE", key, api.delete_key),
        ("POST", f"{key}/rotate", api.rotate_key),
        ("POST", f"{key}/revoke", api.revoke_key),
        ("POST", "/api/teams", api.create_team),
        ("GET", "/api/teams", api.list_teams),
        ("GET", team, api.get_team),
        ("PATCH", team, api.update_team),
        ("DELETE", team, api.delete_team),
        ("GET", "/api/key-changes", api.list_changes),
    ]
    return [
        Endpoint(method, path, _told(handler), doc=DOCS[method, path])
        for method, path, handler in served
    ]


class Api:
    """The handlers; they raise what `_told` answers."""

    def __init__(self, watcher: Watcher, prefix: str) -> None:
        self._watcher = watcher
        self._prefix = prefix

    async def create_key(self, request: web.Request) -> web.Response:
        wanted = read(NewKey, await request.read())
        asked = request.headers.get("Idempotency-Key")
        return await self._do(lambda db: self._desk(request).create_key(db, wanted, asked))

    async def list_keys(self, request: web.Request) -> web.Response:
        asked = read_query(KeysAsked, request.query)
        return await self._do(lambda db: self._desk(request).list_keys(db, asked))

    async def get_key(self, request: web.Request) -> web.Response:
        id_ = request.match_info["id"]
        return await self._do(lambda db: self._desk(request).get_key(db, id_))

    async def update_key(self, request: web.Request) -> web.Response:
        id_, patch = request.match_info["id"], read_patch(await request.read())
        return await self._do(lambda db: self._desk(request).update_key(db, id_, patch))

    async def rotate_key(self, request: web.Request) -> web.Response:
        id_, rotation = request.match_info["id"], read(Rotation, await request.read())
        return await self._do(lambda db: self._desk(request).rotate_key(db, id_, rotation))

    async def revoke_key(self, request: web.Request) -> web.Response:
        id_ = request.match_info["id"]
        return await self._do(lambda db: self._desk(request).revoke_key(db, id_))

    async def delete_key(self, request: web.Request) -> web.Response:
        id_ = request.match_info["id"]
        return await self._do(lambda db: self._desk(request).delete_key(db, id_))

    async def create_team(self, request: web.Request) -> web.Response:
        wanted = read(Team, await request.read())
        return await self._do(lambda db: self._desk(request).create_team(db, wanted))

    async def list_teams(self, request: web.Request) -> web.Response:
        asked = read_query(TeamsAsked, request.query)
        return await self._do(lambda db: self._desk(request).list_teams(db, asked))

    async def get_team(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return await self._do(lambda db: self._desk(request).get_team(db, name))

    async def update_team(self, request: web.Request) -> web.Response:
        name, patch = request.match_info["name"], read_patch(await request.read())
        return await self._do(lambda db: self._desk(request).update_team(db, name, patch))

    async def delete_team(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return await self._do(lambda db: self._desk(request).delete_team(db, name))

    async def list_changes(self, request: web.Request) -> web.Response:
        asked = read_query(ChangesAsked, request.query)
        return await self._do(lambda db: self._desk(request).list_changes(db, asked))

    async def _do(self, work: Work) -> web.Response:
        done = await self._watcher.ask(work)
        return _json(done.document, done.status)

    def _desk(self, request: web.Request) -> Desk:
        actor = request.headers.get(ACTOR, "")[:_ACTOR_CHARS_MAX]
        said = f", {actor}" if actor and actor.isprintable() else ""
        return Desk(self._prefix, f"admin token{said}")


def _told(handler: Handler) -> Handler:
    """The same handler, whose faults are answers."""

    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except Fault as fault:
            return _json({"error": str(fault)}, fault.status)
        except (ValueError, StoreRefused) as error:
            return _json({"error": str(error)}, 400)
        except StoreAway as error:
            log.warning("key_store_away", error=str(error))
            response = _json({"error": "the store of keys is away; try again"}, 503)
            response.headers["Retry-After"] = "1"
            return response

    return answer


def _json(document: dict[str, Any], status: int) -> web.Response:
    # An answer may hold a key, which is shown once.
    headers = {"Cache-Control": "no-store"}
    return web.Response(
        body=orjson.dumps(document),
        status=status,
        content_type="application/json",
        headers=headers,
    )
