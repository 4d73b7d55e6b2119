"""Who is measured: nobody in between, nginx, and the gateway with a list of plugins.

Each proxy gets the same work: take `/bench/` off the path, send the request to the mock over kept
connections, pass the answer on as it comes. Each writes into a folder of its own that goes when the
peer goes.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import msgspec
import orjson

from bench.processes import child, first_line, on_core

ROOT = Path(__file__).resolve().parent.parent
READY_TIMEOUT_S = 15.0
COMPILED = ROOT / "build" / "compiled"
STAMP = COMPILED / ".stamp"
PYTHON = "python:"
ISSUE = ("request_id", "metadata", "credentials", "timing", "access_log")

NGINX = """\
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile {files};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream up {{
        server {upstream};
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location /bench/ {{
            proxy_pass http://up/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"""

# The mock is one origin, and thousands of streams to it are wanted at once.
WEIR = """\
state_dir = {folder}
enabled = {enabled}

[server]
host = "127.0.0.1"
port = 0

[admin]
host = "127.0.0.1"
port = 0

[limits]
connections_max = 20000
idle_upstream_max = 256

[providers.bench]
base_url = {upstream}
dialect = "openai"
connections_max = 20000
"""


class Cores(msgspec.Struct, frozen=True):
    """Where each part runs; None leaves it to the system."""

    proxy: int | None = None
    mock: int | None = None
    load: int | None = None


class Peer(msgspec.Struct, frozen=True):
    """A kind of thing that can stand between the load and the mock. `plugins` and `core` are for
    the gateway only; its core is "compiled" (`make compile`) or plain "python".
    """

    name: str
    kind: str
    plugins: tuple[str, ...] = ()
    core: str = ""


class Running(msgspec.Struct, frozen=True):
    """A peer that answers: where, by which process, and how long that took from its start."""

    peer: Peer
    base: str
    pid: int | None
    start_s: float


DIRECT = Peer("direct", "direct")
PLAIN = Peer("nginx", "nginx")


def gateway(written: str) -> Peer:
    """`none`, `issue`, or names divided by commas (paths of plugin files count as names); with
    `python:` before it on the core that is not compiled.
    """
    known: dict[str, tuple[str, ...]] = {"none": (), "issue": ISSUE}
    plugins = written.removeprefix(PYTHON)
    names = known.get(plugins)
    if names is None:
        names = tuple(name.strip() for name in plugins.split(",") if name.strip())
    return Peer(f"weir {written}", "weir", names, "compiled" if plugins == written else "python")


def nginx_path() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def missing(peer: Peer) -> str:
    """Why a peer cannot be measured here; empty if it can."""
    if peer.kind == "nginx" and nginx_path() is None:
        return "nginx is not installed"
    if peer.core == "compiled" and not is_compiled():
        return "the core is not compiled, or was changed since; run make compile"
    return ""


def is_compiled() -> bool:
    """Whether `make compile` has run since the last change of the core."""
    if not STAMP.exists():
        return False
    made = STAMP.stat().st_mtime_ns
    return all(path.stat().st_mtime_ns <= made for path in (ROOT / "gateway").rglob("*.py"))


@contextlib.contextmanager
def mock_upstream(cores: Cores) -> Iterator[tuple[str, int]]:
    """The mock upstream in a process of its own: its address and its pid."""
    command = [sys.executable, "-m", "bench", "upstream", "--port", "0"]
    with child(command, core=cores.mock, cwd=ROOT) as process:
        ready = orjson.loads(first_line(process, READY_TIMEOUT_S))
        yield ready["address"], process.pid


@contextlib.contextmanager
def running(peer: Peer, upstream: str, cores: Cores) -> Iterator[Running]:
    """Start a peer and wait for its first answer through it."""
    if peer.kind == "direct":
        yield Running(peer, upstream, None, 0.0)
        return
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        errors = stack.enter_context((folder / "stderr").open("w+b"))
        began = time.monotonic()
        try:
            if peer.kind == "nginx":
                found = start_nginx(stack, folder, upstream, cores, errors)
            else:
                found = start_gateway(stack, folder, peer, upstream, cores, errors)
            base, pid = found
            answered(base)
        except (OSError, TimeoutError, ValueError, KeyError) as error:
            errors.seek(0)
            told = errors.read(8192).decode(errors="replace").strip()
            raise RuntimeError(f"{peer.name} did not start: {error}\n{told}") from error
        yield Running(peer, base, pid, time.monotonic() - began)


def start_nginx(
    stack: contextlib.ExitStack, folder: Path, upstream: str, cores: Cores, errors: IO[bytes]
) -> tuple[str, int]:
    path = nginx_path()
    if path is None:
        raise FileNotFoundError("nginx is not installed")
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        NGINX.format(
            folder=folder,
            port=port,
            upstream=urlsplit(upstream).netloc,
            user="user root;" if os.geteuid() == 0 else "",
            files=files_limit(),
            connections=files_limit(),
        )
    )
    command = [path, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    process = stack.enter_context(child(command, core=cores.proxy, stderr=errors))
    until = time.monotonic() + READY_TIMEOUT_S
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return f"http://127.0.0.1:{port}/bench", process.pid
        time.sleep(0.002)
    raise TimeoutError("it does not listen")


def start_gateway(
    stack: contextlib.ExitStack,
    folder: Path,
    peer: Peer,
    upstream: str,
    cores: Cores,
    errors: IO[bytes],
) -> tuple[str, int]:
    """The log goes to a file, as it would in service."""
    config = folder / "weir.toml"
    state, enabled, address = (
        orjson.dumps(value).decode() for value in (str(folder), list(peer.plugins), upstream)
    )
    config.write_text(WEIR.format(folder=state, enabled=enabled, upstream=address))
    paths = [str(COMPILED), str(ROOT)] if peer.core == "compiled" else [str(ROOT)]
    process = stack.enter_context(
        child(
            [sys.executable, "-m", "gateway", "run", "--config", str(config)],
            core=cores.proxy,
            cwd=folder,
            environment={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stderr=errors,
        )
    )
    ready = orjson.loads(first_line(process, READY_TIMEOUT_S))
    return f"{ready['callers']}/bench", process.pid


def answered(base: str) -> None:
    """One whole answer through the peer, by a client that has nothing to do with ours."""
    parts = urlsplit(base)
    connection = http.client.HTTPConnection(parts.netloc, timeout=5)
    try:
        connection.request(
            "POST",
            f"{parts.path}/v1/chat/completions",
            body=b'{"model":"bench-1","messages":[]}',
            headers={"Content-Type": "application/json", "x-bench": "json=600"},
        )
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise ValueError(f"it spoke nonsense: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200 or len(body) != 600:
        raise ValueError(f"it answered {response.status}: {body[:300]!r}")


def files_limit() -> int:
    """nginx reserves memory per connection it may have, so no more than the streams here need."""
    return min(16_384, os.sysconf("SC_OPEN_MAX"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def load_on(core: int | None) -> Iterator[None]:
    """Our own generator, and wrk as its child, run where they are told to."""
    with on_core(core):
        yield
