"""nginx as the system has it: one worker, kept connections, nothing buffered."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from bench.peers.kinds import (
    READY_TIMEOUT_S,
    Kind,
    Place,
    Started,
    files_limit,
    free_port,
    listening,
)

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


def nginx_path() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def config(folder: Path, port: int, upstream: str) -> str:
    return NGINX.format(
        folder=folder,
        port=port,
        upstream=urlsplit(upstream).netloc,
        user="user root;" if os.geteuid() == 0 else "",
        files=files_limit(),
        connections=files_limit(),
    )


def start(place: Place) -> Started:
    path = nginx_path()
    if path is None:
        raise FileNotFoundError("nginx is not installed")
    port, folder = free_port(), place.folder
    written = folder / "nginx.conf"
    written.write_text(config(folder, port, place.upstream))
    command = [path, "-p", str(folder), "-c", str(written), "-e", str(folder / "error.log")]
    process = place.child(command)
    listening(process, port, READY_TIMEOUT_S)
    return Started(f"http://127.0.0.1:{port}/bench", process.pid)


def missing() -> str:
    return "" if nginx_path() else "nginx is not installed"


def version() -> str:
    """It tells its version on standard error: `nginx version: nginx/1.22.1`."""
    path = nginx_path()
    if path is None:
        return ""
    told = subprocess.run([path, "-v"], capture_output=True, text=True, timeout=5, check=False)
    return told.stderr.strip().rpartition(" ")[2].replace("/", " ")


KIND = Kind("nginx", start, missing, version)
