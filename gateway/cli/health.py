"""`weir health`: the question of a container's probe, with an exit code for an answer.

It asks the admin listener for its readiness, as `curl -f http://127.0.0.1:8081/readyz` would, and
needs no curl in the image and no port written twice. 0 is ready, 1 is not.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from typing import Any, Final
from urllib.parse import urlsplit

import click

from gateway import settings
from gateway.cli import probe
from gateway.cli.text import DURATION, config_option, json_option, say, say_json
from gateway.config import Config
from gateway.units import Duration

READY_PATH: Final = "/readyz"
NOT_READY: Final = 1
# What a wildcard address listens on too.
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_WORDS_MAX: Final = 80


@click.command("health")
@config_option
@click.option("--url", help="Of the admin listener. Default: what the configuration says.")
@click.option(
    "--timeout", type=DURATION, default="2s", show_default=True, help="How long all may take."
)
@json_option
def command(path: str | None, url: str | None, timeout: Duration, as_json: bool) -> None:
    """Ask a running gateway whether it is ready; exit 0 if so, else 1."""
    if url is None:
        url = admin_url(settings.load(path, os.environ).config)
    facts = asyncio.run(_asked(url, timeout / 1e9))
    if as_json:
        say_json(facts)
    else:
        say(f"{'ready' if facts['ready'] else 'not ready'}: {facts['url']}{_why(facts)}")
    raise SystemExit(0 if facts["ready"] else NOT_READY)


def admin_url(config: Config) -> str:
    """Where this machine reaches the admin listener."""
    if not config.admin.port:
        raise click.UsageError(
            "admin.port is 0, any free one: only the gateway's first line says which; give --url"
        )
    host = _LOOPBACK.get(config.admin.host, config.admin.host)
    return (
        f"http://[{host}]:{config.admin.port}"
        if ":" in host
        else (f"http://{host}:{config.admin.port}")
    )


async def _asked(url: str, timeout_s: float) -> dict[str, Any]:
    host, port, tls, target = _taken_apart(url)
    facts: dict[str, Any] = {"ready": False, "url": url, "status": None, "reason": ""}
    started = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            answer = await probe.fetch(host, port, target, tls=tls)
    except (OSError, probe.ProbeError, ssl.SSLError) as error:
        facts["reason"] = probe.reason(error)
    else:
        facts["status"] = answer.status
        facts["ready"] = answer.status == 200
        if answer.status != 200:
            words = answer.body.decode("utf-8", "replace").strip()[:_WORDS_MAX]
            facts["reason"] = words if words.isprintable() else ""
    facts["ms"] = round((time.monotonic() - started) * 1000, 1)
    return facts


def _taken_apart(url: str) -> tuple[str, int, bool, bytes]:
    """Host, port, whether TLS, and the target. A URL without a path asks for readiness."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--url") from None
    is_plain = parts.path.isascii() and parts.path.isprintable() and " " not in parts.path
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
        raise click.BadParameter(
            f'wanted one such as "http://127.0.0.1:8081", given "{url}"', param_hint="--url"
        )
    path = parts.path if parts.path.strip("/") else READY_PATH
    return parts.hostname, port, parts.scheme == "https", path.encode()


def _why(facts: dict[str, Any]) -> str:
    if facts["ready"]:
        return ""
    status = f"status {facts['status']}" if facts["status"] is not None else ""
    hint = "" if status else "is the gateway running, and is this its admin listener?"
    return ": " + "; ".join(part for part in (status, facts["reason"], hint) if part)
