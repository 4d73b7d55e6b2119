"""Node, running one of the scripts beside this file: a question a line in, an answer a line out."""

from __future__ import annotations

import select
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

import orjson

FOLDER: Final = Path(__file__).parent
# No question of ours takes longer; the SDKs' own timeouts are far above the gateway's.
PATIENCE_S: Final = 30.0


class Node:
    """A script's process, started by the first question and used for all, for it starts slowly."""

    def __init__(self, script: str) -> None:
        self._script = script
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Ask, and give the answer; whatever goes wrong with Node itself is a RuntimeError."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(orjson.dumps(question) + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(self._ended(process)) from None
        readable, _, _ = select.select([process.stdout], [], [], PATIENCE_S)
        line = process.stdout.readline() if readable else b""
        if not line:
            raise RuntimeError(self._ended(process))
        answer: dict[str, Any] = orjson.loads(line)
        return answer

    def close(self) -> None:
        """End the process, if there is one."""
        process, stderr = self._process, self._stderr
        self._process = self._stderr = None
        if process is not None:
            process.kill()
            process.communicate()
        if stderr is not None:
            stderr.close()

    def _start(self) -> subprocess.Popen[bytes]:
        self._stderr = self._stderr or tempfile.TemporaryFile()  # noqa: SIM115  # see close()
        self._process = subprocess.Popen(
            ["node", self._script],
            cwd=FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )
        return self._process

    def _ended(self, process: subprocess.Popen[bytes]) -> str:
        process.kill()
        process.wait()
        assert self._stderr is not None
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace")
        self.close()
        return f"node {self._script} gave no answer\n{said}"
