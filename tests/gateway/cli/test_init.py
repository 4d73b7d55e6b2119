"""`weir init`: what it finds, and a file that the gateway accepts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gateway.cli.init import Found, look, text_for
from gateway.config import Config
from gateway.rows import built_in
from gateway.testing import ScriptedUpstream, answers, head
from tests.tidy.source import ROOT

SECRET = "sk-live-0123456789abcdef"  # never to be written anywhere
MODELS = answers(b'{"object": "list", "data": []}')
NOWHERE = "127.0.0.1:9"  # the port of `discard`, where nobody listens


def environment(**extra: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "OLLAMA_HOST": NOWHERE, **extra}


def weir(folder: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT), **extra),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_key_that_is_set_is_named_and_never_written(tmp_path):
    done = weir(tmp_path, "init", GROQ_API_KEY=SECRET, GOOGLE_API_KEY=SECRET)

    assert done.returncode == 0, done.stderr
    text = (tmp_path / "config.toml").read_text()
    tables = tomllib.loads(text)["providers"]
    assert tables["groq"] == {"api_key": "env:GROQ_API_KEY"}
    assert tables["google-ai-studio"] == {"api_key": "env:GOOGLE_API_KEY"}
    assert "openai" not in tables
    assert '#[providers.openai]\n#api_key = "env:OPENAI_API_KEY"\n' in text
    assert "found  groq: GROQ_API_KEY is set" in done.stdout
    assert SECRET not in text + done.stdout + done.stderr


def test_the_file_passes_the_check(tmp_path):
    with ScriptedUpstream(MODELS) as upstream:
        weir(tmp_path, "init", OPENAI_API_KEY=SECRET, OLLAMA_HOST=upstream.url, container="podman")
    done = weir(tmp_path, "check", OPENAI_API_KEY=SECRET, WEIR_STATE_DIR=str(tmp_path / "state"))

    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout
    assert done.stdout.splitlines()[-1] == f"config.toml: {len(Config().enabled)} plugins, ok"


def test_everything_that_is_commented_out_would_pass_as_well(tmp_path):
    lines = text_for(Found(keys={}, servers={}, container="")).splitlines()
    offered = [line.removeprefix("#") for line in lines if not line.startswith("# ")]
    (tmp_path / "config.toml").write_text("\n".join(offered))

    assert set(tomllib.loads("\n".join(offered))["providers"]) == {
        name for name, row in built_in().items() if row.api_key
    }
    done = weir(tmp_path, "check", WEIR_STATE_DIR=str(tmp_path / "state"))
    assert done.returncode == 0, done.stdout


def test_a_server_on_this_machine_is_found_where_its_variable_says():
    with ScriptedUpstream(MODELS) as upstream:
        found = look(environment(OLLAMA_HOST=f"localhost:{upstream.port}"))

        assert found.servers["ollama"] == f"http://localhost:{upstream.port}"
        assert upstream.requests[0].target == b"/v1/models"


def test_a_server_that_wants_a_key_counts_and_another_kind_of_server_does_not():
    with ScriptedUpstream(answers(b"{}", status=401)) as upstream:
        assert "ollama" in look(environment(OLLAMA_HOST=upstream.url)).servers
        upstream.script = answers(b"{}", status=404)
        assert "ollama" not in look(environment(OLLAMA_HOST=upstream.url)).servers
        upstream.script = lambda visit: visit.send(b"220 mail.example ESMTP\r\n\r\n")
        assert "ollama" not in look(environment(OLLAMA_HOST=upstream.url)).servers


def test_a_silent_server_is_not_waited_for():
    def silent(visit):
        visit.read()
        visit.connection.wait_gone()

    with ScriptedUpstream(silent) as upstream:
        assert "ollama" not in look(environment(OLLAMA_HOST=upstream.url)).servers


def test_in_a_container_it_listens_for_others_and_says_so():
    for variable, kind in (("KUBERNETES_SERVICE_HOST", "kubernetes"), ("container", "lxc")):
        found = look(environment(**{variable: "lxc"}))
        tables = tomllib.loads(text_for(found))
        assert found.container == kind
        assert tables["server"]["host"] == "0.0.0.0"
        assert tables["server"]["allowed_hosts"] == ["weir"]
        assert tables["admin"]["host"] == "127.0.0.1"


def test_outside_of_one_the_listeners_are_the_defaults():
    tables = tomllib.loads(text_for(Found(keys={}, servers={}, container="")))

    assert tables["server"] == {"host": "127.0.0.1", "port": 8080}


def test_a_file_that_is_there_is_kept_unless_forced(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("mine = true\n")

    refused = weir(tmp_path, "init")
    assert refused.returncode == 2
    assert "config.toml is there already; --force overwrites it" in refused.stderr
    assert file.read_text() == "mine = true\n"

    assert weir(tmp_path, "init", "--force").returncode == 0
    assert "mine" not in file.read_text()


def test_a_path_that_cannot_be_written_is_a_usage_error_that_names_it(tmp_path):
    done = weir(tmp_path, "init", "none/weir.toml")

    assert done.returncode == 2
    assert "none/weir.toml: no such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_json_prints_what_was_found(tmp_path):
    done = weir(tmp_path, "init", "weir.toml", "--json", MISTRAL_API_KEY=SECRET, container="oci")

    assert json.loads(done.stdout) == {
        "file": "weir.toml",
        "keys": {"mistral": "MISTRAL_API_KEY"},
        "servers": {},
        "container": "oci",
    }
    assert (tmp_path / "weir.toml").exists()


@pytest.mark.parametrize("text", ["http://", "ftp://x", "[::1", "x:99999999"])
def test_a_variable_that_makes_no_sense_leaves_the_usual_address(text):
    assert look(environment(OLLAMA_HOST=text)).servers.keys() <= {"ollama", "vllm"}


def test_the_head_of_an_answer_may_be_all_there_is():
    with ScriptedUpstream(lambda visit: visit.send(head(200))) as upstream:
        assert "ollama" in look(environment(OLLAMA_HOST=upstream.url)).servers
