"""The operator's listener: health, the admin API, and what plugins serve there. Plain aiohttp.

Probes need no token and say little. Everything under /api wants the admin token, which is made at
first start and lies in the state directory with mode 0600. Host names are checked as on the
callers' port, so that no web page can reach it by rebinding a name.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from aiohttp import web

from gateway.errors import StartError
from gateway.log import get, set_level
from gateway.refusal import is_host_allowed
from gateway.secret import Secret

if TYPE_CHECKING:
    from gateway.gateway import Endpoint, Gateway

TOKEN_FILE: Final = "admin.token"  # noqa: S105  a file name, not a token
# An admin request is a few fields and a small document.
BODY_BYTES_MAX: Final = 1024 * 1024

LEVELS: Final = ("debug", "info", "warning", "error")  # as in [log] of the configuration

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Level(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for another log level."""

    level: Literal["debug", "info", "warning", "error"]


def open_state(state: Path) -> Secret:
    """Make the state directory for its owner alone, and the admin token in it."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return admin_token(state)
    except OSError as error:
        raise StartError(
            f"state_dir {state}: {error.strerror or error}; "
            "set state_dir (or WEIR_STATE_DIR) to a directory that can be written"
        ) from error


def admin_token(state: Path) -> Secret:
    """The admin token, made on first use. Only its owner may read the file."""
    path = state / TOKEN_FILE
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
    token: Secret,
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
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"reloaded": True, "restart_needed": restart})

    app = web.Application(
        middlewares=[_host_rule(host, allowed_hosts)],
        client_max_size=BODY_BYTES_MAX,
    )
    app.router.add_get("/livez", live)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/healthz", ready)
    app.router.add_post("/api/reload", _closed(reload_now, token))
    app.router.add_post("/api/log", _closed(_set_log_level, token))
    for endpoint in endpoints:
        handler = _closed(endpoint.handler, token) if endpoint.token else endpoint.handler
        app.router.add_route(endpoint.method, endpoint.path, handler)
    app.on_response_prepare.append(without_server)
    return app


async def _set_log_level(request: web.Request) -> web.Response:
    """Change the log's level until the next reload or restart: `{"level": "debug"}`."""
    try:
        level = msgspec.json.decode(await request.read(), type=_Level).level
    except msgspec.DecodeError:
        wanted = ", ".join(f'"{name}"' for name in LEVELS)
        text = f'wanted {{"level": ...}} with one of {wanted}'
        return web.json_response({"error": text}, status=400)
    before = set_level(level)
    get("admin").warning("log_level_set", log_level=level, before=before)
    return web.json_response({"level": level, "before": before})


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


def _closed(handler: Handler, token: Secret) -> Handler:
    """The same handler behind the admin token."""

    async def check_token(request: web.Request) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.reveal()):
            raise web.HTTPUnauthorized(
                text=f"Send the admin token ({TOKEN_FILE} in state_dir) as a bearer token.\n",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return await handler(request)

    return check_token
