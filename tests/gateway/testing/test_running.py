from __future__ import annotations

import os
import urllib.request

import pytest

from gateway.testing import RawCaller, ScriptedUpstream, StartFailed, answers, running_gateway

PLUGIN = '''
"""Answers everything itself, with a word from its config."""

import os

import msgspec

from gateway import Reply, hookimpl


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """word: What to say."""

    word: str = "nothing"


class Plugin:
    def __init__(self, config):
        pass

    @hookimpl
    async def authenticate(self, exchange):
        word = exchange.settings["says"].word + os.environ.get("OPENAI_API_KEY", "")
        return Reply(200, word.encode(), outcome="complete")
'''


def test_it_listens_on_free_ports_and_is_gone_afterwards():
    with running_gateway() as gateway:
        with urllib.request.urlopen(gateway.admin_url + "/readyz") as response:
            assert response.status == 200
        assert gateway.url == f"http://127.0.0.1:{gateway.port}"
        assert gateway.memory_bytes() > 1_000_000
        assert gateway.sockets() >= 2
        assert len(gateway.admin_token) > 20
        pid, folder = gateway.pid, gateway.folder

    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_reaches_a_scripted_upstream():
    with (
        ScriptedUpstream(answers(b"hello")) as upstream,
        running_gateway({"providers": {"openai": upstream.provider()}}) as gateway,
        RawCaller(gateway.port) as caller,
    ):
        caller.request(b"GET", b"/openai/v1/models")
        assert caller.answer().body == b"hello"
        assert gateway.stop() == 0


def test_a_plugin_is_enabled_by_its_path_and_configured_in_toml(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a key of the one who runs the tests")
    (tmp_path / "says.py").write_text(PLUGIN)
    config = '[plugins.says]\nword = "hello"\n'
    with (
        running_gateway(config, plugins=[tmp_path / "says.py"]) as gateway,
        RawCaller(gateway.port) as caller,
    ):
        caller.request(b"GET", b"/openai/v1/models")
        assert caller.answer().body == b"hello"


def test_a_gateway_that_does_not_start_says_why():
    with pytest.raises(StartFailed) as failed, running_gateway({"server": {"prot": 1}}):
        pass

    assert failed.value.code == 78
    assert "prot" in str(failed.value)


def test_the_log_goes_into_the_error_of_a_failing_test():
    def fail() -> None:
        with running_gateway({"log": {"level": "debug"}}) as gateway, RawCaller(gateway.port) as c:
            c.send(b"GET / HTTP/1.1\r\n\r\n")
            c.everything()
            gateway.wait_for_log("request_refused")
            raise LookupError("the test's own")

    with pytest.raises(LookupError) as failed:
        fail()

    assert "request_refused" in "".join(failed.value.__notes__)
