"""The operator's listener: health, the admin API, and what plugins serve there. Plain aiohttp.

Probes need no token and say little. Everything under /api wants the admin token, or for what only
reads another one; both are made at first start and lie in the state directory with mode 0600. Host
names are checked as on the
callers' port, so that no web page can reach it by rebinding a name.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
import orjson
from aiohttp import web

from gateway.errors import StartError
from gateway.gateway import Doc, Endpoint
from gateway.log import get, set_level
from gateway.openapi import document
from gateway.query import ErrorAnswer
from gateway.refusal import is_host_allowed
from gateway.secret import Secret

if TYPE_CHECKING:
    from gateway.gateway import Gateway

TOKEN_FILE: Final = "admin.token"  # noqa: S105  a file name, not a token
READ_FILE: Final = "admin.read.token"
# An admin request is a few fields and a small document.
BODY_BYTES_MAX: Final = 1024 * 1024

LEVELS: Final = ("debug", "info", "warning", "error")  # as in [log] of the configuration

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Level(msgspec.Struct, forbid_unknown_fields=True):
    """Another log level.

    level: Of the least that is logged.
    """

    level: Literal["debug", "info", "warning", "error"]


class LevelSet(msgspec.Struct):
    """The log's level was changed.

    level: The one of now.
    before: The one until now.
    """

    level: str
    before: str


class Reloaded(msgspec.Struct):
    """The new configuration is in force.

    restart_needed: The keys whose change waits for a restart.
    reloaded: Always true.
    """

    restart_needed: list[str]
    reloaded: bool = True


class Tokens(NamedTuple):
    """Both tokens. admin: opens everything. read: only what a GET or HEAD asks for."""

    admin: Secret
    read: Secret


def open_state(state: Path) -> Tokens:
    """Make the state directory for its owner alone, and the tokens in it."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Tokens(admin_token(state), admin_token(state, READ_FILE))
    except OSError as error:
        raise StartError(
            f"state_dir {state}: {error.strerror or error}; "
            "set state_dir (or WEIR_STATE_DIR) to a directory that can be written"
        ) from error


def admin_token(state: Path, name: str = TOKEN_FILE) -> Secret:
    """The token of a file, made on first use. Only its owner may read the file."""
    path = state / name
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        text = path.read_bytes().strip()
        if not text:
            raise StartError(
                f"{path} is empty; delete it and a new token is made at the next start"
            ) from None
        return Secret(text, reference=f"file:{path}")
    with os.fdopen(descriptor, "wb") as file:
        text = secrets.token_urlsafe(32).encode()
        file.write(text + b"\n")
    return Secret(text, reference=f"file:{path}")


def application(
    gateway: Gateway,
    tokens: Tokens,
    endpoints: Iterable[Endpoint],
    reload: Callable[[], list[str]],
    *,
    host: str,
    allowed_hosts: Callable[[], tuple[str, ...]],
) -> web.Application:
    """The admin application. reload: loads the configuration anew and gives the keys that need a
    restart.
    """

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def ready(_: web.Request) -> web.Response:
        if gateway.is_draining:
            return web.Response(status=503, text="draining\n")
        if gateway.troubles:
            texts = (f"{name}: {reason}\n" for name, reason in gateway.troubles.items())
            return web.Response(status=503, text="".join(texts))
        return web.Response(text="ready\n")

    async def reload_now(_: web.Request) -> web.Response:
        try:
            restart = reload()
        except StartError as error:
            return _json(ErrorAnswer(str(error)), 400)
        return _json(Reloaded(restart))

    async def openapi(_: web.Request) -> web.Response:
        return web.Response(body=described, content_type="application/json")

    probes, own = _probes(live, ready), _own(reload_now, openapi)
    endpoints = (*own, *endpoints)
    described = orjson.dumps(document((*probes, *endpoints)))
    app = web.Application(
        middlewares=[_host_rule(host, allowed_hosts)],
        client_max_size=BODY_BYTES_MAX,
    )
    for probe in probes:
        app.router.add_get(probe.path, probe.handler)  # also for HEAD
    for endpoint in endpoints:
        handler = _closed(endpoint.handler, tokens) if endpoint.token else endpoint.handler
        app.router.add_route(endpoint.method, endpoint.path, handler)
    app.on_response_prepare.append(without_server)
    return app


def _probes(live: Handler, ready: Handler) -> tuple[Endpoint, ...]:
    answers = {200: ("text/plain",), 503: ("text/plain",)}
    reasons = "Whether new requests are taken; the text says why not."
    return (
        Endpoint(
            "GET",
            "/livez",
            live,
            token=False,
            doc=Doc("Whether the process lives.", answers={200: ("text/plain",)}),
        ),
        Endpoint("GET", "/readyz", ready, token=False, doc=Doc(reasons, answers=answers)),
        Endpoint("GET", "/healthz", ready, token=False, doc=Doc(reasons, answers=answers)),
    )


def _own(reload: Handler, openapi: Handler) -> tuple[Endpoint, ...]:
    """The core's part of the API."""
    return (
        Endpoint(
            "POST",
            "/api/reload",
            reload,
            doc=Doc(
                "Load the configuration anew; an error leaves the old one in force.",
                answers={200: Reloaded, 400: ErrorAnswer},
            ),
        ),
        Endpoint(
            "POST",
            "/api/log",
            _set_log_level,
            doc=Doc(
                "Change the log's level until the next reload or restart.",
                body=Level,
                answers={200: LevelSet, 400: ErrorAnswer},
            ),
        ),
        Endpoint(
            "GET",
            "/api/openapi.json",
            openapi,
            doc=Doc("This document.", answers={200: dict[str, Any]}),
        ),
    )


async def _set_log_level(request: web.Request) -> web.Response:
    """Change the log's level until the next reload or restart: `{"level": "debug"}`."""
    try:
        level = msgspec.json.decode(await request.read(), type=Level).level
    except msgspec.DecodeError:
        wanted = ", ".join(f'"{name}"' for name in LEVELS)
        text = f'wanted {{"level": ...}} with one of {wanted}'
        return _json(ErrorAnswer(text), 400)
    before = set_level(level)
    get("admin").warning("log_level_set", log_level=level, before=before)
    return _json(LevelSet(level, before))


def _json(answer: msgspec.Struct, status: int = 200) -> web.Response:
    body = msgspec.json.encode(answer)
    return web.Response(body=body, status=status, content_type="application/json")


def pages(
    endpoints: Iterable[Endpoint], *, host: str, allowed_hosts: Callable[[], tuple[str, ...]]
) -> web.Application:
    """The pages that plugins serve on the callers' port."""
    app = web.Application(middlewares=[_host_rule(host, allowed_hosts)])
    for endpoint in endpoints:
        app.router.add_route(endpoint.method, endpoint.path, endpoint.handler)
    app.on_response_prepare.append(without_server)
    app.on_response_prepare.append(_alone)
    return app


async def _alone(_: web.Request, response: web.StreamResponse) -> None:
    """A page ends its connection: the next request on it may be one for the relay."""
    response.headers["Connection"] = "close"  # the framing is written already when this runs
    response.force_close()


async def without_server(_: web.Request, response: web.StreamResponse) -> None:
    """Tell nobody which software, in which version, this is."""
    response.headers.pop("Server", None)


def _host_rule(
    host: str, allowed_hosts: Callable[[], tuple[str, ...]]
) -> Callable[..., Awaitable[web.StreamResponse]]:
    @web.middleware
    async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.getall("Host", [])
        if len(given) != 1 or not is_host_allowed(given[0], allowed_hosts(), host):
            raise web.HTTPForbidden(text="This host name is not served here; see allowed_hosts.\n")
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2].lower() != given[0].lower():
            raise web.HTTPForbidden(text="Pages of another origin may not use this listener.\n")
        return await handler(request)

    return check_host


def _closed(handler: Handler, tokens: Tokens) -> Handler:
    """The same handler behind the admin token, or behind the one for reading if it only reads."""

    async def check_token(request: web.Request) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        shown = given.encode("utf-8", "surrogateescape")
        if hmac.compare_digest(shown, tokens.admin.reveal()):
            return await handler(request)
        if not hmac.compare_digest(shown, tokens.read.reveal()):
            raise web.HTTPUnauthorized(
                text=f"Send the admin token ({TOKEN_FILE} in state_dir) as a bearer token.\n",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if request.method not in ("GET", "HEAD"):
            raise web.HTTPForbidden(text=f"This token only reads; {TOKEN_FILE} has the other.\n")
        return await handler(request)

    return check_token
