"""`weir doctor`: why does it not work? One line a check, and the way out where one is needed.

Everything is looked at side by side, each provider within its deadline, and no call costs tokens.
Without names it asks the providers that have a key or a table of their own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Final

import click
import msgspec

from gateway import settings
from gateway.cli import machine
from gateway.cli.machine import MACHINE, Check
from gateway.cli.reach import Reach
from gateway.cli.text import DURATION, aligned, config_option, json_option, say, say_json
from gateway.convert import ConfigErrors, nearest
from gateway.providers import Provider, build
from gateway.units import Duration

FAILED: Final = 1
COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}
# Signatures of clouds and certificates that are not valid yet fail at five minutes.
SKEW_WARN_S: Final = 30
SKEW_FAIL_S: Final = 300


@click.command("doctor")
@click.argument("names", nargs=-1, metavar="[PROVIDER]...")
@config_option
@click.option(
    "--timeout", type=DURATION, default="5s", show_default=True, help="For each provider."
)
@json_option
def command(names: tuple[str, ...], path: str | None, timeout: Duration, as_json: bool) -> None:
    """Check this machine and reach the providers, without spending tokens; exit 1 on a failure."""
    loaded = settings.load(path, os.environ)
    try:
        providers = build(loaded.config, loaded.config.state_path)
    except ConfigErrors as errors:
        raise loaded.placed(errors) from None
    chosen = _chosen(loaded, providers, names)
    found = asyncio.run(_examine(loaded, chosen, timeout / 1e9))
    if as_json:
        say_json([msgspec.to_builtins(check) for check in found])
    else:
        rows = aligned((check.state, check.about, check.check, check.text) for check in found)
        for check, row in zip(found, rows, strict=True):
            say(click.style(check.state, fg=COLOURS[check.state]) + row[len(check.state) :])
    raise SystemExit(FAILED if any(check.state == "fail" for check in found) else 0)


def _chosen(
    loaded: settings.Loaded, providers: dict[str, Provider], names: tuple[str, ...]
) -> list[Provider]:
    for name in names:
        if name not in providers:
            near = nearest(name, providers)
            hint = f"did you mean {near}?" if near else "`weir config show` lists the configured"
            raise click.UsageError(f'no provider "{name}"; {hint}')
    if names:
        return [providers[name] for name in dict.fromkeys(names)]
    own = loaded.config.providers
    return [
        provider
        for name, provider in providers.items()
        if name in own or (provider.api_key is not None and not provider.api_key.missing)
    ]


async def _examine(
    loaded: settings.Loaded, providers: Iterable[Provider], timeout_s: float
) -> list[Check]:
    reaches = [Reach(provider, timeout_s) for provider in providers]
    async with asyncio.TaskGroup() as group:
        here = group.create_task(machine.checks(loaded.config, timeout_s))
        running = [group.create_task(reach.run()) for reach in reaches]
    assert all(task.done() for task in running)
    return [
        *here.result(),
        *_clock(reaches),
        *(check for reach in reaches for check in reach.checks),
        *_network(reaches),
    ]


def _clock(reaches: list[Reach]) -> Iterable[Check]:
    """Our clock by those of the upstreams: the nearest counts, for one of them may be wrong."""
    skews = [reach.skew_s for reach in reaches if reach.skew_s is not None]
    if not skews:
        return
    skew_s = min(skews, key=abs)
    text = f"{abs(skew_s):.0f} s {'behind' if skew_s > 0 else 'ahead of'} the providers' clocks"
    if abs(skew_s) < SKEW_WARN_S:
        yield Check(MACHINE, "clock", "ok", text)
    else:
        state: machine.State = "fail" if abs(skew_s) >= SKEW_FAIL_S else "warn"
        yield Check(MACHINE, "clock", state, f"{text}; set the clock, by NTP say")


def _network(reaches: list[Reach]) -> Iterable[Check]:
    """Say it plainly where nothing at all was reached."""
    if not reaches:
        text = "no key is set and no provider configured; name those to reach: weir doctor openai"
        yield Check(MACHINE, "providers", "warn", text)
    far = [reach for reach in reaches if reach.checks and not reach.is_near]
    tried = [reach for reach in far if any(check.check != "address" for check in reach.checks)]
    if tried and not any(reach.is_reached for reach in tried):
        text = (
            f"nothing beyond this machine was reached ({len(tried)} tried): it is offline, or a "
            "firewall is in the way; where a proxy leads out, set HTTPS_PROXY or proxy"
        )
        yield Check(MACHINE, "network", "fail", text)
