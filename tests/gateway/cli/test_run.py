from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.tidy.source import ROOT

CONFIG = """state_dir = "{folder}/state"
enabled = []
[server]
host = "0.0.0.0"
port = 0
[admin]
port = 0
[log]
format = "json"
"""


def start(folder: Path, text: str) -> subprocess.Popen[str]:
    file = folder / "weir.toml"
    file.write_text(text)
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", "run", "--config", str(file)],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_run_serves_says_where_on_one_line_and_ends_with_0(tmp_path):
    process = start(tmp_path, CONFIG.format(folder=tmp_path))
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    assert (line["event"], line["pid"]) == ("listening", process.pid)
    with urllib.request.urlopen(f"{line['admin']}/livez", timeout=10) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "")
    events = [json.loads(text) for text in errors.splitlines()]
    (warning,) = [event for event in events if event["event"] == "config_warning"]
    assert warning["level"] == "warning"
    assert warning["text"].startswith(f"{tmp_path}/weir.toml:4: [server] host: 0.0.0.0 is not")


def test_a_plugins_problem_is_told_with_its_place_and_78(tmp_path):
    text = CONFIG.format(folder=tmp_path).replace("enabled = []", 'enabled = ["none.py"]')
    process = start(tmp_path, text)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (78, "")
    last = errors.splitlines()[-1]
    assert last.startswith(f'{tmp_path}/weir.toml:2: enabled: no plugin "none.py"')
    assert "Traceback" not in errors


def test_a_state_directory_that_cannot_be_made_is_told_in_words_and_78(tmp_path):
    (tmp_path / "file").write_text("")
    process = start(tmp_path, CONFIG.format(folder=tmp_path / "file"))
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (78, "")
    assert "state_dir" in errors.splitlines()[-1]
    assert "Traceback" not in errors
