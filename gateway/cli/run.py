"""`weir run`: load the configuration and hand it to the server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from gateway import log, ports, server, settings, stand, workers
from gateway.cli.text import config_option
from gateway.convert import ConfigErrors


@click.command("run")
@config_option
@click.option("--worker", type=int, hidden=True, help="A keeper's: the number of this worker.")
@click.option("--sockets", hidden=True, help="A keeper's: descriptors of the callers' port.")
@click.option("--admin-socket", type=click.Path(path_type=Path), hidden=True)
def command(
    path: str | None, worker: int | None, sockets: str | None, admin_socket: Path | None
) -> None:
    """Start the gateway.

    Prints one line of JSON with the bound addresses on standard output when it listens; the log
    goes to standard error. SIGTERM lets running exchanges finish, SIGHUP reloads.
    """
    loaded = settings.load(path, os.environ)
    log.set_up(loaded.config.log.level, loaded.config.log.format)
    for warning in loaded.warnings:
        log.get("gateway.settings").warning("config_warning", text=warning)
    try:
        if worker is not None and sockets and admin_socket is not None:
            given = ports.adopted(map(int, sockets.split(",")))
            code = server.run(loaded, stand.Place(worker, given, admin_socket))
        elif loaded.config.server.workers > 1:
            code = workers.run(loaded)
        else:
            code = server.run(loaded)
    except ConfigErrors as errors:
        raise loaded.placed(errors) from None
    finally:
        log.flush()
    sys.exit(code)
