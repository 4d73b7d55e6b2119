"""Who is measured: nobody in between, nginx, the gateway with a list of plugins, and the field.

Each proxy gets the same work: take the request, send it to the mock over kept connections, pass the
answer on as it comes. Those that only forward take `/bench/` off the path as well; those that know
what they carry are told that the mock is OpenAI. Each writes into a folder of its own that goes
when the peer goes.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from bench import shapes
from bench.options import FIELDS, body_of
from bench.peers.field import KINDS, named
from bench.peers.kinds import READY_TIMEOUT_S, ROOT, Cores, Peer, Place, Running, Started
from bench.peers.nginx import nginx_path
from bench.peers.weir import ISSUE, WEIR, gateway, is_compiled
from bench.processes import child, first_line, on_core
from bench.script import Script, line

__all__ = [
    "DIRECT",
    "ISSUE",
    "PLAIN",
    "ROOT",
    "WEIR",
    "Cores",
    "Peer",
    "Running",
    "answered",
    "gateway",
    "load_on",
    "missing",
    "mock_upstream",
    "named",
    "nginx_path",
    "running",
    "versions",
]

DIRECT = Peer("direct", "direct")
PLAIN = Peer("nginx", "nginx")
FIRST = Script(json=600)
ANSWER_TIMEOUT_S = 15.0
WORDS_MAX = 8192


def missing(peer: Peer) -> str:
    """Why a peer cannot be measured here; empty if it can."""
    if peer.core == "compiled" and not is_compiled():
        return "the core is not compiled, or was changed since; run make compile"
    return KINDS[peer.kind].missing() if peer.kind != DIRECT.kind else ""


def versions(peers: Sequence[Peer]) -> list[str]:
    """What of other people's is measured; a kind is named once."""
    kinds = dict.fromkeys(peer.kind for peer in peers if peer.kind != DIRECT.kind)
    return [told for kind in kinds if (told := KINDS[kind].version())]


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
    if peer.kind == DIRECT.kind:
        yield Running(peer, upstream, None, 0.0)
        return
    kind = KINDS[peer.kind]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        errors = stack.enter_context((folder / "stderr").open("w+b"))
        began = time.monotonic()
        try:
            found = kind.start(Place(stack, folder, peer, upstream, cores, errors))
            answered(found.base, found, exact=not kind.rewrites)
        except (OSError, TimeoutError, ValueError, KeyError) as error:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - WORDS_MAX))
            told = errors.read(WORDS_MAX).decode(errors="replace").strip()
            raise RuntimeError(f"{peer.name} did not start: {error}\n{told}") from error
        yield Running(
            peer,
            found.base,
            found.pid,
            time.monotonic() - began,
            found.fields,
            found.body,
            not kind.rewrites,
        )


def answered(base: str, started: Started | None = None, *, exact: bool = True) -> None:
    """One whole answer through the peer, by a client that has nothing to do with ours. What
    rewrites answers must still bring the mock's whole text.
    """
    parts = urlsplit(base)
    body, more = (started.body, started.fields) if started else (body_of, {})
    connection = http.client.HTTPConnection(parts.netloc, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request(
            "POST",
            f"{parts.path}/v1/chat/completions",
            body=body(FIRST),
            headers={**FIELDS, "x-bench": line(FIRST) or "json=600", **more},
        )
        response = connection.getresponse()
        found = response.read()
    except http.client.HTTPException as error:
        raise ValueError(f"it spoke nonsense: {error!r}") from error
    finally:
        connection.close()
    text = shapes.text_of(FIRST.shape, FIRST.json).encode()
    if response.status != 200 or text not in found or (exact and len(found) != FIRST.json):
        raise ValueError(f"it answered {response.status}: {found[:300]!r}")


@contextlib.contextmanager
def load_on(core: int | None) -> Iterator[None]:
    """Our own generator, and wrk as its child, run where they are told to."""
    with on_core(core):
        yield
