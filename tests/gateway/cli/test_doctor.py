"""`weir doctor` as it is typed: lines, exit codes, JSON, and no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from gateway.testing import ScriptedUpstream, answers
from gateway.testing.toml import to_toml
from tests.tidy.source import ROOT

KEY = "sk-live-0123456789abcdef"


def doctor(
    folder: Path, providers: dict[str, Any], *arguments: str, **extra: str
) -> subprocess.CompletedProcess[str]:
    tables = {
        "state_dir": str(folder / "state"),
        "server": {"port": 0},
        "admin": {"port": 0},
        "limits": {"connections_max": 10},
        "providers": providers,
    }
    (folder / "weir.toml").write_text(to_toml(tables))
    return subprocess.run(
        [sys.executable, "-m", "gateway", "doctor", "--config", "weir.toml", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder), **extra},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(answers(b"{}", (b"Date", formatdate(usegmt=True).encode()))) as made:
        yield made


def test_all_is_well_and_the_exit_code_is_0(tmp_path, upstream):
    table = upstream.provider(api_key="env:KEY")
    done = doctor(tmp_path, {"openai": table}, KEY=KEY)

    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split(None, 3) for line in done.stdout.splitlines()]
    assert [line[:3] for line in lines] == [
        ["ok", "machine", "descriptors"],
        ["ok", "machine", "server.port"],
        ["ok", "machine", "admin.port"],
        ["ok", "machine", "state_dir"],
        ["ok", "machine", "clock"],
        ["ok", "openai", "dns"],
        ["ok", "openai", "tcp"],
        ["ok", "openai", "auth"],
    ]
    assert KEY not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout


def test_a_refused_key_is_a_failure_and_exit_code_1(tmp_path, upstream):
    upstream.script = answers(KEY.encode(), status=401)
    done = doctor(tmp_path, {"openai": upstream.provider(api_key="env:KEY")}, KEY=KEY)

    assert done.returncode == 1
    assert "the key is refused; put a valid one in env:KEY" in done.stdout
    assert KEY not in done.stdout + done.stderr


def test_json_gives_the_same_checks(tmp_path, upstream):
    done = doctor(tmp_path, {"openai": upstream.provider()}, "--json", "openai")
    checks = json.loads(done.stdout)

    assert done.returncode == 0
    assert {tuple(check) for check in checks} == {("about", "check", "state", "text")}
    assert [c["check"] for c in checks if c["about"] == "openai"] == ["dns", "tcp", "auth"]


def test_a_clock_that_is_wrong_is_told(tmp_path, upstream):
    for ahead_s, state, code in ((60, "warn", 0), (3600, "fail", 1), (-3600, "fail", 1)):
        date = formatdate(time.time() + ahead_s, usegmt=True).encode()
        upstream.script = answers(b"{}", (b"Date", date))
        done = doctor(tmp_path, {"openai": upstream.provider()}, "--json")
        (clock,) = [one for one in json.loads(done.stdout) if one["check"] == "clock"]
        assert (clock["state"], done.returncode) == (state, code)
        assert ("behind" if ahead_s > 0 else "ahead of") in clock["text"]


def test_without_a_network_it_ends_and_says_so(tmp_path):
    table = {"base_url": "https://weir.invalid/v1"}
    started = time.monotonic()
    done = doctor(tmp_path, {"openai": table, "groq": table}, "--timeout", "1s")

    assert time.monotonic() - started < 20
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.split(None, 3)[:3] == ["fail", "machine", "network"]
    assert "nothing beyond this machine was reached (2 tried): it is offline" in last


def test_providers_are_asked_at_the_same_time(tmp_path):
    def silent(visit):
        visit.read()
        visit.connection.wait_gone()

    with ScriptedUpstream(silent) as upstream:
        table = upstream.provider()
        names = [f"own-{number}" for number in range(8)]
        providers = {name: {**table, "dialect": "openai"} for name in names}
        started = time.monotonic()
        done = doctor(tmp_path, providers, "--timeout", "2s")
        took_s = time.monotonic() - started

    assert done.stdout.count("no answer within 2 s") == 8
    assert took_s < 14  # and 16 one after the other


def test_only_the_named_are_asked(tmp_path, upstream):
    providers = {"openai": upstream.provider(), "groq": {"base_url": "http://127.0.0.1:9"}}
    done = doctor(tmp_path, providers, "openai")

    assert done.returncode == 0
    assert "groq" not in done.stdout


def test_a_key_alone_chooses_a_provider_and_without_any_a_hint_is_given(tmp_path):
    done = doctor(tmp_path, {})
    assert done.returncode == 0
    assert "no key is set and no provider configured" in done.stdout

    away = "http://127.0.0.1:9"
    done = doctor(tmp_path, {}, GROQ_API_KEY=KEY, https_proxy=away, HTTPS_PROXY=away)
    assert done.returncode == 1
    assert "groq" in done.stdout


def test_a_wrong_name_is_a_usage_error_with_the_right_one(tmp_path):
    done = doctor(tmp_path, {}, "opnai")

    assert done.returncode == 2
    assert 'no provider "opnai"; did you mean openai?' in done.stderr


def test_a_configuration_that_cannot_work_is_78(tmp_path):
    done = doctor(tmp_path, {"openai": {"dialect": "klingon"}})

    assert done.returncode == 78
    assert "weir.toml:" in done.stderr
    assert "[providers.openai] dialect" in done.stderr
