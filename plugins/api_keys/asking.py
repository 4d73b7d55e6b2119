"""How commands manage keys: through a gateway that runs, or straight on the store where none does.

Both do the same thing (`.desk`) and give the same documents.
"""

from __future__ import annotations

import asyncio
import getpass
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
import click
import msgspec
import orjson

from gateway import StartError, StoreAway, StoreRefused, read_query

from .api import ACTOR
from .described import ChangesAsked, KeysAsked, NewKey, Rotation, TeamsAsked
from .desk import Desk, Done, Fault, read
from .fields import Team
from .stores import NONE, Store, opened

TIMEOUT_S: Final = 15.0
# Whether a gateway runs is known soon: it is mostly on this machine.
CONNECT_S: Final = 2.0


class Asked(msgspec.Struct, frozen=True):
    """One request: method, path, the query's parameters and the body."""

    method: str
    path: tuple[str, ...]
    query: dict[str, str] = {}
    body: dict[str, Any] | None = None


class Asking:
    """Where to ask.

    config: the configuration in force. table: its [plugins.api_keys]. url: of the admin listener;
    None where nobody knows it.
    """

    def __init__(self, config: Any, table: Any, url: str | None, *, offline: bool) -> None:
        self._config = config
        self._table = table
        self._url = None if offline else url

    def ask(self, asked: Asked) -> dict[str, Any]:
        """The document of an answer; `click.ClickException` says why there is none."""
        return asyncio.run(self._asked(asked))

    async def _asked(self, asked: Asked) -> dict[str, Any]:
        token_file = self._config.state_path / "admin.token"
        if self._url is not None and token_file.exists():
            try:
                found = await self._online(self._url, token_file.read_text().strip(), asked)
            except aiohttp.ClientConnectorError:
                found = None  # nobody listens there
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise click.ClickException(f"{self._url} does not answer: {error!r}") from error
            if found is not None:
                return found
        return await self._offline(asked)

    async def _online(self, url: str, token: str, asked: Asked) -> dict[str, Any] | None:
        """None where that gateway has no keys."""
        path = "/".join(quote(part, safe="") for part in asked.path)
        address = f"{url.rstrip('/')}/api/{path}"
        if asked.query:
            address += "?" + urlencode(asked.query)
        headers = {"Authorization": f"Bearer {token}", ACTOR: actor()}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_S)
        body = None if asked.body is None else orjson.dumps(asked.body)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(asked.method, address, headers=headers, data=body) as answer,
        ):
            text = await answer.read()
            is_json = answer.content_type == "application/json"
            if answer.status == 404 and not is_json:
                return None
            document = orjson.loads(text) if is_json else {"error": text.decode("utf-8", "replace")}
            if answer.status >= 400:
                raise click.ClickException(str(document.get("error", "")).strip())
            return dict(document)

    async def _offline(self, asked: Asked) -> dict[str, Any]:
        if self._table.store == NONE:
            raise click.ClickException(
                'plugins.api_keys.store is "none", so there are no managed keys; '
                "`weir keys hash` makes one for config.toml"
            )
        state = self._config.state_path
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            database = opened(self._table.store, state)
            await database.open()
            try:
                done = await perform(
                    Desk(self._table.prefix, f"command, {actor()}"), database, asked
                )
            finally:
                await database.close()
        except (StoreAway, StoreRefused, StartError, OSError) as error:
            raise click.ClickException(f"the store of keys: {error}") from error
        except (Fault, ValueError) as fault:
            raise click.ClickException(str(fault)) from fault
        return done.document


async def perform(desk: Desk, db: Store, asked: Asked) -> Done:
    """Do what a request asks for, without a gateway."""
    body = orjson.dumps(asked.body or {})
    match (asked.method, *asked.path):
        case ("POST", "keys"):
            return await desk.create_key(db, read(NewKey, body))
        case ("GET", "keys"):
            return await desk.list_keys(db, read_query(KeysAsked, asked.query))
        case ("GET", "keys", id_):
            return await desk.get_key(db, id_)
        case ("PATCH", "keys", id_):
            return await desk.update_key(db, id_, asked.body or {})
        case ("DELETE", "keys", id_):
            return await desk.delete_key(db, id_)
        case ("POST", "keys", id_, "rotate"):
            return await desk.rotate_key(db, id_, read(Rotation, body))
        case ("POST", "keys", id_, "revoke"):
            return await desk.revoke_key(db, id_)
        case ("POST", "teams"):
            return await desk.create_team(db, read(Team, body))
        case ("GET", "teams"):
            return await desk.list_teams(db, read_query(TeamsAsked, asked.query))
        case ("GET", "teams", name):
            return await desk.get_team(db, name)
        case ("PATCH", "teams", name):
            return await desk.update_team(db, name, asked.body or {})
        case ("DELETE", "teams", name):
            return await desk.delete_team(db, name)
        case ("GET", "key-changes"):
            return await desk.list_changes(db, read_query(ChangesAsked, asked.query))
    raise AssertionError(asked)


def actor() -> str:
    """Who runs the command, as far as the system says."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
