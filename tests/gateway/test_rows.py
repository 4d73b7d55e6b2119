"""The built-in rows, and a table of config.toml over one."""

from __future__ import annotations

import pytest

from gateway.config import ProviderConfig
from gateway.rows import Credential, Row, built_in, overridden
from gateway.secret import Secret

KEY = Secret(b"sk-1")


@pytest.mark.parametrize(
    ("written", "name", "value"),
    [
        ("authorization: Bearer {key}", b"authorization", b"Bearer sk-1"),
        ("Authorization: Key {key}", b"Authorization", b"Key sk-1"),
        ("x-api-key: {key}", b"x-api-key", b"sk-1"),
        ("x-key:{key};v=1", b"x-key", b"sk-1;v=1"),
        ("bearer", b"authorization", b"Bearer sk-1"),
        ("Bearer", b"authorization", b"Bearer sk-1"),
        ("api-key", b"api-key", b"sk-1"),
    ],
)
def test_a_credential_is_written_as_its_field_or_in_short(written, name, value):
    credential = Credential(written)
    assert (credential.name, credential.field(KEY)) == (name, (name, value))


@pytest.mark.parametrize(
    "written",
    [
        "authorization: Bearer",
        ": {key}",
        "",
        "bad name: {key}",
        "host: {key}",
        "Content-Length: {key}",
        "connection: {key}",
        "x: a\r\ny: {key}",
    ],
)
def test_a_credential_that_could_not_be_sent_is_refused(written):
    with pytest.raises(ValueError, match="wanted"):
        Credential(written)


def test_every_provider_that_is_promised_is_there():
    promised = """openai anthropic google-ai-studio google-vertex-ai aws-bedrock azure-openai
    workers-ai groq mistral cohere perplexity-ai deepseek grok cerebras openrouter baseten parallel
    huggingface replicate fal cartesia elevenlabs deepgram ollama vllm mock"""
    assert sorted(built_in()) == sorted(promised.split())


def test_a_table_changes_single_keys_of_a_row():
    row = Row(base_url="https://a.example/v1", dialect="openai", strip_v1=True)
    changed = overridden(row, ProviderConfig(dialect="anthropic", strip_v1=False))
    assert changed == Row(base_url="https://a.example/v1", dialect="anthropic", strip_v1=False)
    assert overridden(row, ProviderConfig()) == row


def test_a_base_url_of_ones_own_takes_what_leads_elsewhere_along():
    row = Row(
        base_url="https://a.example",
        paths={"x/*": "{base_url}/y/*", "m/{id}": "https://{id}.example/go"},
        socket="/run/a.sock",
    )
    mine = ProviderConfig(base_url="http://127.0.0.1:9")
    expected = Row(base_url="http://127.0.0.1:9", paths={"x/*": "{base_url}/y/*"})
    assert overridden(row, mine) == expected


def test_a_socket_of_ones_own_stays_with_ones_own_base_url():
    mine = ProviderConfig(base_url="http://mock", socket="/run/mine.sock")
    assert overridden(Row(socket="/run/a.sock"), mine).socket == "/run/mine.sock"
