"""`weir budgets` asks the running gateway, and says what to do where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys

import httpx
import orjson

from gateway.testing import RunningGateway, ScriptedUpstream, answers, running_gateway

RULES = [
    {"name": "day", "scope": "gateway", "limit": "2 USD/day"},
    {"name": "soft", "scope": ["provider", "model"], "limit": "1k tokens/day", "hard": False},
    {"name": "idle", "scope": "team", "limit": "1 USD/day"},
]
COST = {"bundled": False, "models": [{"model": "*", "input": 0, "output": 500_000}]}
USED = orjson.dumps({"model": "m", "usage": {"prompt_tokens": 10, "completion_tokens": 1}})


def weir(gateway: RunningGateway, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "budgets", *words]
    command += ["--config", str(gateway.config_file), "--url", gateway.admin_url]
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"NO_COLOR": "1"},
    )


def test_it_shows_what_is_left_and_says_where_nobody_answers():
    with ScriptedUpstream(answers(USED)) as upstream:
        config = {
            "providers": {"openai": upstream.provider()},
            "enabled": ["usage", "cost", "budget"],
            "plugins": {"budget": {"rules": RULES}, "cost": COST},
        }
        with running_gateway(config) as gateway:
            url = f"{gateway.url}/openai/v1/chat/completions"
            assert httpx.post(url, json={"model": "m", "max_tokens": 1}).status_code == 200
            shown = weir(gateway)
            assert shown.returncode == 0, shown.stderr
            head, day, soft, idle = shown.stdout.splitlines()
            assert head.split() == [
                "budget", "for", "limit", "spent", "reserved", "left", "used", "resets",
            ]  # fmt: skip
            assert day.split()[:9] == [
                "day", "gateway", "default", "2", "USD/day", "0.5", "0", "1.5", "25",
            ]  # fmt: skip
            assert "soft (soft)  provider openai, model m  1k tokens/day  11 " in soft
            assert idle.split()[:3] == ["idle", "1", "USD/day"]

            rules = orjson.loads(weir(gateway, "--json").stdout)["rules"]
            assert [each["name"] for each in rules] == ["day", "soft", "idle"]

            gateway.stop()
            gone = weir(gateway)
            assert gone.returncode == 1
            assert "is the gateway running?" in gone.stderr
