"""nginx and HAProxy as they come: as proxies before an upstream, and as origins that count."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from bench.processes import child

READY_S: Final = 10.0

NGINX: Final = """\
daemon off;
master_process off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 512; }}
http {{
    log_format counted '$status "$request_uri" "$request_body"';
    access_log {folder}/access.log counted;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            {does}
        }}
    }}
}}
"""
NGINX_PASSES: Final = """\
proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_request_buffering off;"""
# Only a body that is passed on is read and can be logged.
NGINX_ANSWERS: Final = """\
client_body_buffer_size 1m;
            client_body_in_single_buffer on;
            proxy_pass http://unix:{folder}/answers.sock:;
        }}
    }}
    server {{
        listen unix:{folder}/answers.sock;
        access_log off;
        location / {{
            return 200 "ok";"""

HAPROXY: Final = """\
global
    maxconn 512
    nbthread 1
    log stdout len 65535 format raw local0
defaults
    mode http
    log global
    option dontlognull
    log-format "%ST"
    timeout connect 5s
    timeout client 10s
    timeout server 10s
    timeout http-request 10s
frontend callers
    bind 127.0.0.1:{port}
    {does}
"""
HAPROXY_PASSES: Final = """default_backend up
backend up
    http-reuse never
    server up 127.0.0.1:{upstream}"""
# It would take a body that broke off for whole, so the one that answers is another, behind it.
HAPROXY_ANSWERS: Final = """\
log-format "%ST %HU %[var(txn.body)]"
    http-request wait-for-body time 5s
    http-request set-var(txn.body) req.body,hex
    default_backend up
backend up
    server up unix@answers.sock
frontend answers
    bind unix@answers.sock
    no log
    http-request wait-for-body time 5s
    http-request return status 200 content-type text/plain string ok"""

# Gives the port of a proxy before the upstream on this port.
Start = Callable[[int], AbstractContextManager[int]]


@contextlib.contextmanager
def nginx_proxy(upstream: int) -> Iterator[int]:
    with _folder() as folder, _nginx(folder, NGINX_PASSES.format(upstream=upstream)) as port:
        yield port


@contextlib.contextmanager
def haproxy_proxy(upstream: int) -> Iterator[int]:
    with _folder() as folder, _haproxy(folder, HAPROXY_PASSES.format(upstream=upstream)) as port:
        yield port


PROXIES: Final[tuple[Start, Start]] = (nginx_proxy, haproxy_proxy)


@contextlib.contextmanager
def nginx_origin() -> Iterator[tuple[int, Path]]:
    """Give its port, and the file that gets a line for each request, good or bad."""
    with _folder() as folder, _nginx(folder, NGINX_ANSWERS.format(folder=folder)) as port:
        yield port, folder / "access.log"


@contextlib.contextmanager
def haproxy_origin() -> Iterator[tuple[int, Path]]:
    """Give the same."""
    with _folder() as folder, _haproxy(folder, HAPROXY_ANSWERS) as port:
        yield port, folder / "haproxy.log"


def nginx_version() -> str:
    """Give "nginx 1.22.1"."""
    return _said([_found("nginx", "nginx-light"), "-v"]).split(": ")[1].strip().replace("/", " ")


def haproxy_version() -> str:
    """Give "HAProxy 2.6.12"."""
    words = _said([_found("haproxy", "haproxy"), "-v"]).split()
    return f"HAProxy {words[2].partition('-')[0]}"


@contextlib.contextmanager
def _nginx(folder: Path, does: str) -> Iterator[int]:
    port = _free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, user=user, does=does))
    command = [_found("nginx", "nginx-light"), "-p", str(folder), "-c", str(config)]
    with child([*command, "-e", str(folder / "error.log")]) as process:
        _wait(process, port)
        yield port


@contextlib.contextmanager
def _haproxy(folder: Path, does: str) -> Iterator[int]:
    port = _free_port()
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=port, does=does))
    # Its log is its standard output, which `child` would leave in a pipe.
    words = [_found("haproxy", "haproxy"), "-db", "-f", str(config)]
    script = 'exec "$@" >haproxy.log'
    with child(["/bin/sh", "-c", script, "sh", *words], cwd=folder) as process:
        _wait(process, port)
        yield port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="control-") as folder:
        yield Path(folder)


def _found(name: str, package: str) -> str:
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise FileNotFoundError(f"{name} is not installed: apt install {package}")
    return path


def _said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=READY_S)
    return done.stdout + done.stderr


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise ChildProcessError(f"{process.args!r} does not listen on {port}")
