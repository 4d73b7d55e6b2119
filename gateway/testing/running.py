"""A gateway as its users run it: `python -m gateway run` in a process of its own.

    with running_gateway({"providers": {"openai": upstream.provider()}}) as gateway:
        httpx.get(gateway.url + "/openai/v1/models")

It listens on free ports, keeps its state in a temporary directory and has no plugin but those
asked for. What it logged is in `stderr`, and is added to the error of a test that fails.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from gateway.testing.toml import to_toml

START_S: Final = 15.0
STOP_S: Final = 15.0
# How much of the log an error quotes.
QUOTED_CHARACTERS: Final = 4000

_CHANGES: Final = re.compile(r"WEIR_.*|.*_API_KEY|(?i:(https?|all|no)_proxy)")


class StartFailed(Exception):
    """The gateway ended, or stayed silent, before it listened. code: its exit code, or None."""

    def __init__(self, code: int | None, stderr: str) -> None:
        super().__init__(f"exit code {code}\n{stderr[-QUOTED_CHARACTERS:]}")
        self.code = code
        self.stderr = stderr


class RunningGateway:
    """A gateway that listens.

    url, port: of the callers' listener. admin_url, admin_port: of the admin one. folder: holds its
    config.toml, its log and its state. enabled: its plugins, as they stand in the configuration.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], env: Mapping[str, str]) -> None:
        self.folder = folder
        self.enabled = tuple(config["enabled"])
        self.config_file = folder / "config.toml"
        self.write_config(config)
        self._log = (folder / "stderr.log").open("wb")
        self.process = subprocess.Popen(  # noqa: S603  # this interpreter, this package
            [sys.executable, "-m", "gateway", "run", "--config", str(self.config_file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_environment(env),
            cwd=folder,
        )
        try:
            ready = self._ready_line()
        except BaseException:
            self.kill()
            raise
        self.url = str(ready["callers"])
        self.admin_url = str(ready["admin"])
        self.port = _port(self.url)
        self.admin_port = _port(self.admin_url)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stderr(self) -> str:
        """What has been logged so far."""
        return (self.folder / "stderr.log").read_text(errors="replace")

    @property
    def log(self) -> list[dict[str, Any]]:
        """Give the log's lines that are JSON objects."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("{")]
        return [orjson.loads(line) for line in lines]

    @property
    def crashes(self) -> list[str]:
        """Give the tracebacks that have been logged."""
        found = [str(line["exception"]) for line in self.log if "exception" in line]
        return found or re.findall(r"(?s)Traceback .*", self.stderr)

    @property
    def admin_token(self) -> str:
        return (self.folder / "state" / "admin.token").read_text().strip()

    def wait_for_log(self, event: str, count: int = 1, timeout_s: float = 5.0) -> dict[str, Any]:
        """Wait until an event has been logged that often, and give its latest line."""
        patient_until = time.monotonic() + timeout_s
        while True:
            found = [line for line in self.log if line.get("event") == event]
            if len(found) >= count:
                return found[-1]
            if time.monotonic() > patient_until:
                raise TimeoutError(f"{len(found)} of {count} lines {event}\n{self.quoted()}")
            time.sleep(0.02)

    # -- signals -----------------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, timeout_s: float = STOP_S) -> int:
        """Send SIGTERM, wait for the end and give the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = STOP_S) -> int:
        """Wait for the end and give the exit code."""
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """End it at once, if it still runs."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()

    # -- configuration -----------------------------------------------------------------------------

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the file anew; SIGHUP makes the gateway read it."""
        self.config_file.write_text(to_toml(_complete(config, self.folder)))

    # -- what it holds -----------------------------------------------------------------------------

    def sockets(self) -> int:
        """Count its open sockets (Linux)."""
        count = 0
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                count += str(descriptor.readlink()).startswith("socket:")
            except FileNotFoundError:
                continue  # closed while we looked
        return count

    def memory_bytes(self) -> int:
        """Give its resident memory (Linux)."""
        return self._status("VmRSS")

    def memory_peak_bytes(self) -> int:
        """Give the most resident memory it ever had (Linux)."""
        return self._status("VmHWM")

    def _status(self, key: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
        raise LookupError(key)

    # -- start -------------------------------------------------------------------------------------

    def _ready_line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], START_S)
        line = self.process.stdout.readline() if readable else b""
        if not line:
            code = self.process.wait(STOP_S) if readable else None
            raise StartFailed(code, self.stderr)
        ready: dict[str, Any] = orjson.loads(line)
        return ready

    def quoted(self) -> str:
        """Give the end of the log, for the text of an error."""
        return f"-- the gateway's stderr --\n{self.stderr[-QUOTED_CHARACTERS:]}"


@contextmanager
def running_gateway(
    config: str | Mapping[str, Any] = "",
    *,
    plugins: Iterable[str | Path] = (),
    env: Mapping[str, str] | None = None,
) -> Iterator[RunningGateway]:
    """Run a gateway; it is gone when the block ends, however it ends.

    config: the text of a config.toml, or its tables as a dict. plugins: names, or paths of .py
    files, added to its `enabled`, which is empty if it has none. env: further environment
    variables; those of the test's own process that would change a gateway are not passed on.
    """
    tables = dict(tomllib.loads(config)) if isinstance(config, str) else dict(config)
    tables["enabled"] = [*tables.get("enabled", ()), *map(str, plugins)]
    folder = Path(tempfile.mkdtemp(prefix="gateway-"))
    gateway = None
    try:
        gateway = RunningGateway(folder, tables, env or {})
        yield gateway
    except BaseException as error:
        if gateway is not None:
            error.add_note(gateway.quoted())
        raise
    finally:
        if gateway is not None:
            gateway.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _complete(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Add what a test always wants and seldom says: free ports, a state directory, a JSON log."""
    return {
        "enabled": [],
        "state_dir": str(folder / "state"),
        **config,
        "server": {"port": 0, **config.get("server", {})},
        "admin": {"port": 0, **config.get("admin", {})},
        "log": {"format": "json", **config.get("log", {})},
    }


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Give the environment without what would change a gateway: settings, keys, proxies."""
    kept = {name: value for name, value in os.environ.items() if _CHANGES.fullmatch(name) is None}
    # The gateway under test is the one these lines belong to, installed or not; or that in
    # CORE_UNDER_TEST, a folder that `make compile` filled, with the plugins that are in it.
    source = str(Path(__file__).resolve().parents[2])
    paths = (os.environ.get("CORE_UNDER_TEST"), source, kept.get("PYTHONPATH"))
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return {**kept, **extra}


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
