"""Shows what is left of each budget, as a running gateway counts it."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp
import click
import orjson

from gateway.command import (
    DURATION,
    admin_url,
    config_option,
    in_force,
    json_option,
    say_json,
    say_rows,
)

from . import NAME
from .rules import usd

_SHOWN: Final[tuple[str, ...]] = (
    "budget",
    "for",
    "limit",
    "spent",
    "reserved",
    "left",
    "used",
    "resets",
)


@click.command("budgets")
@config_option
@json_option
@click.option("--url", help="Of the admin listener. Default: what the configuration says.")
@click.option(
    "--timeout", type=DURATION, default="10s", show_default=True, help="How long all may take."
)
def command(path: str | None, as_json: bool, url: str | None, timeout: int) -> None:
    """Show what is spent, reserved and left of each budget."""
    config, _ = in_force(path, NAME)
    try:
        token = (config.state_path / "admin.token").read_text().strip()
    except OSError as error:
        raise click.ClickException(
            f"{config.state_path}/admin.token cannot be read ({error.strerror}): has the gateway "
            "been started with this state_dir, and by whom?"
        ) from error
    found = asyncio.run(_asked(url or admin_url(config), token, timeout / 1e9))
    if as_json:
        say_json(found)
        return
    table = [_SHOWN]
    for rule in found["rules"]:
        table += [_row(rule, each) for each in rule["subjects"]] or [_row(rule, None)]
    say_rows(table)


async def _asked(url: str, token: str, timeout_s: float) -> Any:
    address = f"{url.rstrip('/')}/api/budgets"
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session,
            session.get(address, headers=headers) as answer,
        ):
            body = await answer.read()
            if answer.status == 404:
                raise click.ClickException(
                    'that gateway has no budgets: enable the plugin "budget"'
                )
            if answer.status != 200:
                text = body.decode("utf-8", "replace").strip()[:200]
                raise click.ClickException(f"{address} answered {answer.status}: {text}")
            return orjson.loads(body)
    except (aiohttp.ClientError, OSError, TimeoutError, orjson.JSONDecodeError) as error:
        raise click.ClickException(
            f"{address} does not answer ({error!r}); is the gateway running?"
        ) from error


def _row(rule: dict[str, Any], subject: dict[str, Any] | None) -> tuple[str, ...]:
    def amount(value: int) -> str:
        return usd(value) if rule["unit"] == "nanousd" else str(value)

    name = rule["name"] if rule["hard"] else f"{rule['name']} (soft)"
    if subject is None:
        return (name, "", rule["limit"], "0", "0", amount(rule["amount"]), "0 %", "")
    used = subject["spent"] + subject["reserved"]
    share = f"{100 * used / rule['amount']:.0f} %" if rule["amount"] else ""
    return (
        name,
        ", ".join(f"{key} {value}" for key, value in subject["subject"].items()),
        rule["limit"],
        amount(subject["spent"]),
        amount(subject["reserved"]),
        amount(subject["remaining"]),
        share,
        subject["resets_at"],
    )
