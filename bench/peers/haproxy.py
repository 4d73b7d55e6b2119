"""HAProxy as Debian packages it, unpacked into the cache, in one process with one thread.

Debian has one series a release; the pin names it, and apt checks what it gets by signature. Where
the cache is empty, an HAProxy of the system is taken as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from urllib.parse import urlsplit

from bench.peers.install import UNPACKED, Package
from bench.peers.kinds import READY_TIMEOUT_S, Kind, Place, Started, free_port, listening

PACKAGE = Package("haproxy", "debian", "haproxy=2.6.*")

# http-no-delay: pieces of a stream go out as they come, which nginx does with buffering off.
HAPROXY = """\
global
    nbthread 1
    maxconn {connections}
defaults
    mode http
    option http-no-delay
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
frontend in
    bind 127.0.0.1:{port} backlog 4096
    default_backend up
backend up
    http-request replace-path /bench/(.*) /\\1
    server mock {upstream}
"""


def config(port: int, upstream: str) -> str:
    """Each connection through it needs two descriptors, and it wants some for itself."""
    most = min(10_000, max(100, (os.sysconf("SC_OPEN_MAX") - 200) // 2))
    return HAPROXY.format(port=port, upstream=urlsplit(upstream).netloc, connections=most)


def binary() -> str | None:
    """That of the cache, or else the system's."""
    if not PACKAGE.missing():
        return str(PACKAGE.folder / UNPACKED / "usr" / "sbin" / "haproxy")
    return shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def libraries() -> dict[str, str]:
    """Where the unpacked packages have what the system lacks; the system's own come first where
    they are the same.
    """
    root = PACKAGE.folder / UNPACKED
    folders = [*sorted(root.glob("usr/lib/*-linux*")), *sorted(root.glob("lib/*-linux*"))]
    return {"LD_LIBRARY_PATH": os.pathsep.join(map(str, folders))} if folders else {}


def start(place: Place) -> Started:
    port, path = free_port(), binary()
    if path is None:
        raise FileNotFoundError(PACKAGE.missing())
    written = place.folder / "haproxy.cfg"
    written.write_text(config(port, place.upstream))
    process = place.child([path, "-db", "-f", str(written)], libraries())
    listening(process, port, READY_TIMEOUT_S)
    return Started(f"http://127.0.0.1:{port}/bench", process.pid)


def missing() -> str:
    return "" if binary() else PACKAGE.missing()


def version() -> str:
    """Its first line is `HAProxy version 2.6.12-1+deb12u4 2026/01/01 - https://haproxy.org/`."""
    path = binary()
    if path is None:
        return ""
    environment = {**os.environ, **libraries()}
    told = subprocess.run(
        [path, "-v"], capture_output=True, text=True, timeout=5, check=False, env=environment
    )
    words = told.stdout.split()
    return f"HAProxy {words[2]}" if len(words) > 2 else "HAProxy of an unknown version"


KIND = Kind("haproxy", start, missing, version, PACKAGE.install)
