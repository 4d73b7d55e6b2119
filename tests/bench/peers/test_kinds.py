from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest

from bench.peers.kinds import Cores, Peer, Place, free_port, listening
from bench.processes import child

TOLD = "import os, sys; print(os.environ); print('wrong', file=sys.stderr)"


def test_a_foreign_process_knows_no_key_of_ours_and_has_a_home_that_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ours")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example")
    said = started(tmp_path, ["-c", TOLD])
    assert "wrong" in said
    assert str(tmp_path) in said
    assert "sk-ours" not in said
    assert "proxy.example" not in said


def started(folder: Path, arguments: list[str]) -> str:
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context((folder / "stderr").open("w+b"))
        place = Place(stack, folder, Peer("any", "any"), "http://127.0.0.1:9", Cores(), errors)
        place.child([sys.executable, *arguments]).wait(10)
        errors.seek(0)
        return errors.read().decode()


def test_a_server_that_ends_is_not_waited_for():
    with (
        child([sys.executable, "-c", "raise SystemExit(3)"]) as process,
        pytest.raises(ChildProcessError, match="ended with 3"),
    ):
        listening(process, free_port(), 30)


def test_a_server_that_never_listens_is_given_up():
    with (
        child([sys.executable, "-c", "import time; time.sleep(60)"]) as process,
        pytest.raises(TimeoutError, match="did not listen"),
    ):
        listening(process, free_port(), 0.1)
