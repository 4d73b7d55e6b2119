"""The command line: `weir init | run | check | doctor | health | config | plugins | ...`.

Each command is a module of its own that is imported when it is asked for, so that `weir --help`
answers at once and loads neither aiohttp nor uvloop. Every command prints plain text; what fits a
script has `--json`. Exit codes: 0, 2 for a usage error, 78 for a configuration that cannot work
(sysexits.h, EX_CONFIG); and 1 where `health` or `doctor` answer no.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import click

from gateway.cli.text import say
from gateway.convert import nearest
from gateway.errors import StartError

CONFIG_ERROR: Final = 78

# Name and what --help says, in the order of a first day.
COMMANDS: Final = {
    "init": "Write a config.toml for what is found on this machine.",
    "run": "Start the gateway.",
    "check": "Check configuration, plugins, keys and file permissions.",
    "doctor": "Find out why it does not work: network, keys, ports, clock, files.",
    "health": "Ask a running gateway whether it is ready.",
    "config": "Show the configuration in force, or its JSON Schema.",
    "plugins": "List the plugins: where from, hooks, what they read, config keys.",
    "hooks": "List the hooks that a plugin may implement.",
    "version": "Print the version.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *_brought().words()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            found: click.Command | None = _brought().load(cmd_name)
            return found
        command: click.Command = importlib.import_module(f"gateway.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            known = self.list_commands(ctx)
            if args[0] not in known and (near := nearest(args[0], known)):
                ctx.fail(f"No such command '{args[0]}'. Did you mean '{near}'?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        if brought := _brought().helps():
            with formatter.section("Commands of plugins"):
                formatter.write_dl(list(brought.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StartError as error:
            say(str(error), err=True)
            ctx.exit(CONFIG_ERROR)


def _brought() -> Any:
    """What finds the plugins' commands; asked only where a word is not one of the core's."""
    return importlib.import_module("gateway.cli.brought")


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Commands take --config FILE; without it $WEIR_CONFIG, then ./config.toml, "
    "then the built-in defaults. Every key can be set by a variable: WEIR_SERVER__PORT=9000.",
)
def main() -> None:
    """Weir: an AI gateway that streams providers' answers byte for byte, with plugins."""
