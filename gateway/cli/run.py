"""`weir run`: load the configuration and hand it to the server."""

from __future__ import annotations

import os
import sys

import click

from gateway import log, server, settings
from gateway.cli.text import config_option
from gateway.convert import ConfigErrors


@click.command("run")
@config_option
def command(path: str | None) -> None:
    """Start the gateway.

    Prints one line of JSON with the bound addresses on standard output when it listens; the log
    goes to standard error. SIGTERM lets running exchanges finish, SIGHUP reloads.
    """
    loaded = settings.load(path, os.environ)
    log.set_up(loaded.config.log.level, loaded.config.log.format)
    for warning in loaded.warnings:
        log.get("gateway.settings").warning("config_warning", text=warning)
    try:
        code = server.run(loaded)
    except ConfigErrors as errors:
        raise loaded.placed(errors) from None
    finally:
        log.flush()
    sys.exit(code)
