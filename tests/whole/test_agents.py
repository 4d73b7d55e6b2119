"""Coding agents: what Claude Code and Codex CLI send goes up as it is, and comes down so.

Their requests are made after public documents: Claude Code's "Gateway protocol reference" (which
fields and body members a gateway must leave alone) and Anthropic's Messages API; Codex CLI's
configuration of a model provider, OpenAI's Responses API, and the request that its published source
writes. The plugins are those of the repository's config.toml, so some of them read the bodies.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.testing import (
    RawCaller,
    RunningGateway,
    ScriptedUpstream,
    Visit,
    head,
    running_gateway,
    streams,
)

CONFIG = Path(__file__).resolve().parents[2] / "config.toml"
Field = tuple[bytes, bytes]
JSON = (b"content-type", b"application/json")
KEYS = {"ANTHROPIC_API_KEY": "sk-ant-of-the-operator", "OPENAI_API_KEY": "sk-of-the-operator"}
SESSION = b"b4e5aaaa-9a3e-47c4-84ad-3a70f38c676e"

# -- Claude Code -----------------------------------------------------------------------------------

BETAS = (
    b"claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,"
    b"prompt-caching-scope-2026-01-05,advanced-tool-use-2025-11-20,effort-2025-11-24"
)
CLAUDE_FIELDS: tuple[Field, ...] = (
    (b"Accept", b"application/json"),
    (b"X-Stainless-Retry-Count", b"0"),
    (b"X-Stainless-Timeout", b"600"),
    (b"X-Stainless-Lang", b"js"),
    (b"X-Stainless-Package-Version", b"0.74.0"),
    (b"X-Stainless-OS", b"Linux"),
    (b"X-Stainless-Arch", b"x64"),
    (b"X-Stainless-Runtime", b"node"),
    (b"X-Stainless-Runtime-Version", b"v22.16.0"),
    (b"anthropic-dangerous-direct-browser-access", b"true"),
    (b"anthropic-version", b"2023-06-01"),
    (b"x-app", b"cli"),
    (b"X-Claude-Code-Session-Id", SESSION),
    (b"User-Agent", b"claude-cli/2.1.329 (external, cli)"),
    (b"anthropic-beta", BETAS),
    (b"accept-language", b"*"),
    (b"sec-fetch-mode", b"cors"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
)
BY_TOKEN = (b"authorization", b"Bearer of-the-caller")  # ANTHROPIC_AUTH_TOKEN
BY_KEY = (b"X-Api-Key", b"sk-ant-of-the-caller")  # ANTHROPIC_API_KEY
# Members that a translation would lose, numbers and escapes that a second encoding would change.
CLAUDE_TURN = (
    rb'{"model":"claude-opus-4-6","messages":[{"role":"user","content":[{"type":"text","text":'
    rb'"<system-reminder>\nCLAUDE.md \u2028 \ud83d\ude00</system-reminder>"},{"type":"text","text":'
    rb'"fix it","cache_control":{"type":"ephemeral","ttl":"1h"}}]},{"role":"assistant","content":['
    rb'{"type":"thinking","thinking":"","signature":"EqQBCgIYAhIkYWJj+/=="},{"type":"tool_use","id"'
    rb':"toolu_01","name":"Bash","input":{"timeout":1.10,"id":12345678901234567890}}]},{"role":'
    rb'"user","content":[{"type":"tool_result","tool_use_id":"toolu_01","is_error":false,"content":'
    rb'"1e400"}]}],"system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=2.1.329;'
    rb' cc_entrypoint=cli;"},{"type":"text","text":"You are Claude Code.","cache_control":{"type":'
    rb'"ephemeral"}}],"tools":[{"name":"Bash","input_schema":{"$schema":"http://json-schema.org/'
    rb'draft-07/schema#","type":"object","properties":{}},"eager_input_streaming":true}],"metadata"'
    rb':{"user_id":"user_0784_account__session_' + SESSION + rb'"},"max_tokens":32000,"thinking":{'
    rb'"type":"adaptive"},"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":'
    rb'"all"}]},"output_config":{"effort":"medium"},"stream":true}'
)
CLAUDE_COUNT = CLAUDE_TURN[: CLAUDE_TURN.index(b',"max_tokens"')] + b"}"
CLAUDE_ANSWER = (
    (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":'
        b'"message","role":"assistant","model":"claude-opus-4-6","content":[],"stop_reason":null,"usage":'
        b'{"input_tokens":3,"output_tokens":1}}}\n\n'
    ),
    b'event: ping\ndata: {"type": "ping"}\n\n',
    (
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"thinking","thinking":"","signature":""}}\n\n'
    ),
    (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
        b'{"type":"signature_delta","signature":"EqQBCgIYAhIkYWJj+/=="}      }\n\n'
    ),
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0 }\n\n',
    (
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn",'
        b'"stop_sequence":null},"usage":{"output_tokens":9},"context_management":{"applied_edits":[]}'
        b"}\n\n"
    ),
    b'event: message_stop\ndata: {"type":"message_stop"   }\n\n',
)

# -- Codex CLI -------------------------------------------------------------------------------------

CODEX_FIELDS: tuple[Field, ...] = (
    (b"authorization", b"Bearer sk-of-the-caller"),
    (b"version", b"0.169.0"),
    (b"originator", b"codex_cli_rs"),
    (b"user-agent", b"codex_cli_rs/0.169.0 (Debian 12.0.0; x86_64) xterm-256color"),
    (b"session_id", SESSION),
    (b"x-client-request-id", SESSION),
    (b"x-codex-beta-features", b"terminal_resize_reflow"),
    (b"x-codex-turn-metadata", b'{"session_id":"' + SESSION + b'","sandbox":"seccomp"}'),
    (b"accept", b"text/event-stream"),
)
CODEX_TURN = (
    rb'{"model":"gpt-5-codex","instructions":"You are Codex.\n","input":[{"type":"message","role":'
    rb'"developer","content":[{"type":"input_text","text":"<permissions instructions>"}]},{"type":'
    rb'"reasoning","summary":[],"content":null,"encrypted_content":"gAAAAABo+/=="},{"type":'
    rb'"custom_tool_call","status":"completed","call_id":"call_1","name":"apply_patch","input":"***'
    rb' Begin Patch\n\u2026"},{"type":"custom_tool_call_output","call_id":"call_1","output":'
    rb'"{\"metadata\":{\"exit_code\":0,\"duration_seconds\":0.10}}"}],"tools":[{"type":"custom",'
    rb'"name":"apply_patch","format":{"type":"grammar","syntax":"lark","definition":"start: x"}},'
    rb'{"type":"local_shell"}],"tool_choice":"auto","parallel_tool_calls":false,"reasoning":{'
    rb'"effort":"medium","summary":"auto"},"store":false,"stream":true,"include":'
    rb'["reasoning.encrypted_content"],"prompt_cache_key":"' + SESSION + rb'","text":{"verbosity":'
    rb'"medium"}}'
)
CODEX_COMPACT = CODEX_TURN[: CODEX_TURN.index(b',"tools"')] + b"}"
CODEX_ANSWER = (
    (
        b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":'
        b'{"id":"resp_1","object":"response","status":"in_progress","output":[]}}\n\n'
    ),
    (
        b'event: response.reasoning_summary_text.delta\ndata: {"type":'
        b'"response.reasoning_summary_text.delta","item_id":"rs_1","output_index":0,"summary_index":0,'
        b'"delta":"**Look**","obfuscation":"aX3"}\n\n'
    ),
    (
        b'event: response.completed\ndata: {"type":"response.completed","sequence_number":9,'
        b'"response":{"id":"resp_1","object":"response","status":"completed","output":[],"usage":{"input_tokens":'
        b'3,"output_tokens":3,"total_tokens":6}}}\n\n'
    ),
)


def zstd(data: bytes) -> bytes:
    """Wrap up to 255 bytes in a frame of Zstandard with one raw block (RFC 8878 section 3.1.1)."""
    block = (len(data) << 3 | 1).to_bytes(3, "little")  # the last one, raw
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(data)]) + block + data


class Sent(NamedTuple):
    """A request: the path behind the provider's base URL in ours, its fields and its body."""

    method: bytes
    path: bytes
    fields: tuple[Field, ...]
    body: bytes | None
    answer: tuple[bytes, ...]


def claude(path: bytes, body: bytes, key: Field = BY_TOKEN) -> Sent:
    fields = (*CLAUDE_FIELDS, key, JSON)
    return Sent(b"POST", b"/anthropic" + path, fields, body, CLAUDE_ANSWER)


def codex(path: bytes, body: bytes, *more: Field) -> Sent:
    fields = (*CODEX_FIELDS, JSON, *more)
    return Sent(b"POST", b"/openai/v1" + path, fields, body, CODEX_ANSWER)


LONG = CLAUDE_TURN.replace(b"fix it", b"fix it " * 50_000)
SENT = {
    "claude-turn": claude(b"/v1/messages?beta=true", CLAUDE_TURN),
    "claude-turn-by-key": claude(b"/v1/messages?beta=true", CLAUDE_TURN, BY_KEY),
    "claude-long-turn": claude(b"/v1/messages?beta=true", LONG),
    "claude-count": claude(b"/v1/messages/count_tokens?beta=true", CLAUDE_COUNT),
    "claude-models": Sent(
        b"GET", b"/anthropic/v1/models?limit=1000", (*CLAUDE_FIELDS, BY_TOKEN), None, CLAUDE_ANSWER
    ),
    "codex-turn": codex(b"/responses", CODEX_TURN),
    "codex-packed-turn": codex(
        b"/responses", zstd(CODEX_TURN[:255]), (b"content-encoding", b"zstd")
    ),
    "codex-compaction": codex(b"/responses/compact", CODEX_COMPACT),
    "codex-models": Sent(
        b"GET", b"/openai/v1/models?client_version=0.169.0", CODEX_FIELDS, None, CODEX_ANSWER
    ),
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(streams(())) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: ScriptedUpstream) -> Iterator[RunningGateway]:
    providers = {
        "openai": upstream.provider(base_url=f"{upstream.url}/v1"),
        "anthropic": upstream.provider(),
    }
    enabled = tomllib.loads(CONFIG.read_text())["enabled"]
    with running_gateway({"enabled": enabled, "providers": providers}, env=KEYS) as gateway:
        yield gateway
        assert gateway.crashes == []


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_what_an_agent_sends_goes_up_and_its_answer_comes_down_byte_for_byte(
    upstream: ScriptedUpstream, gateway: RunningGateway, sent: Sent
):
    upstream.forget()
    upstream.script = streams(sent.answer)
    ours = (b"cf-aig-authorization", b"Bearer for-the-gateway")  # ANTHROPIC_CUSTOM_HEADERS
    with RawCaller(gateway.port) as caller:
        caller.request(sent.method, sent.path, *sent.fields, ours, body=sent.body)
        answer = caller.answer()
    (request,) = upstream.requests
    framing = (b"host", b"content-length")

    assert (answer.status, answer.is_complete) == (200, True)
    assert answer.body == b"".join(sent.answer)
    assert request.body == (sent.body or b"")
    assert request.target == sent.path.removeprefix(b"/anthropic").removeprefix(b"/openai")
    fields = [field for field in request.fields if field[0].lower() not in framing]
    assert fields == [*sent.fields, (b"cf-aig-request-id", answer.get(b"cf-aig-request-id"))]


@pytest.mark.parametrize("name", ["claude-turn", "codex-turn"])
def test_an_agents_turn_that_is_cut_does_not_look_whole(
    upstream: ScriptedUpstream, gateway: RunningGateway, name
):
    sent = SENT[name]

    def breaks_off(visit: Visit) -> None:
        visit.read()
        visit.send(head(200, (b"Content-Type", b"text/event-stream")), *sent.answer[:-1])
        visit.fin()

    upstream.script = breaks_off
    with RawCaller(gateway.port) as caller:
        caller.request(sent.method, sent.path, *sent.fields, body=sent.body)
        answer = caller.answer()

    assert answer.body == b"".join(sent.answer[:-1])
    assert not answer.is_complete
