"""A rule about models reads what the provider will read, or refuses."""

from __future__ import annotations

import orjson
import pytest

from gateway import CallerFault
from gateway.testing import exchange
from plugins.api_keys.fields import Key
from plugins.api_keys.grants import Grant
from plugins.api_keys.models import check_models

ONLY = Grant("id", Key(name="a", models=("good*",)), None)
ALL_BUT = Grant("id", Key(name="a", denied_models=("bad*",)), None)
CHAT = b"v1/chat/completions"


def said(
    body: bytes | None,
    path: bytes = CHAT,
    *,
    provider: str = "openai",
    method: bytes = b"POST",
    grant: Grant = ONLY,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> int:
    """Give the status of the refusal; 200 without one."""
    made = exchange(method, path, provider=provider, headers=headers)
    made.body = body or None
    assert made.provider is not None
    try:
        check_models(made, grant, made.provider, path, body)
    except CallerFault as fault:
        return fault.status
    return 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"model": "good-1"}', 200),
        (b'{"model": "bad-1"}', 403),
        (b'{"model": "GOOD-1"}', 403),
        (b'{"mod\\u0065l": "good-1"}', 200),
        (b'{"mod\\u0065l": "bad-1"}', 403),
        (b'{"model": "good", "models": ["good-1", "good-2"]}', 200),
        (b'{"model": "good", "models": ["bad"]}', 403),
        (b'{"model": "good", "messages": [{"model": "bad", "Model": 1}]}', 200),
    ],
)
def test_the_model_that_is_sent_decides(body, status):
    assert said(body) == status


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "good", "model": "bad"}',
        b'{"model": "bad", "model": "good"}',
        b'{"model": "good", "model": "good"}',
        b'{"model": "good", "mod\\u0065l": "bad"}',
        b'{"mod\\u0065l": "bad", "model": "good"}',
        b'{"\\u006dodel": "bad", "\\u006d\\u006fdel": "good"}',
        b'{"models": ["good"], "models": ["bad"]}',
        b'{"model": "good", "Model": "bad"}',
        b'{"MODEL": "bad", "model": "good"}',
        b'{"Model": "good"}',
        b'{"model ": "good"}',
        b'{"model": "good", "Models": ["bad"]}',
        b'{"model": "good", "n": NaN}',
        b'{"model": "good", "n": Infinity}',
        b'{"model": "good", "n": -Infinity}',
        b'{"model": "good",}',
        b"{'model': 'good'}",
        b'{"model": "good"} {"model": "bad"}',
        b'{"model": "good"}\n{"model": "bad"}',
        b'\xef\xbb\xbf{"model": "good"}',
        '{"model": "good"}'.encode("utf-16"),
        b'{"model": "good", "x": "\xff"}',
        b'/* */{"model": "good"}',
        b'[{"model": "good"}]',
        b'"good"',
        b"null",
        b"\x1f\x8b\x08\x00",
        b"model=good",
        b'{"model": null}',
        b'{"model": 1}',
        b'{"model": ["good"]}',
        b'{"model": {"id": "good"}}',
        b'{"models": "good", "model": "good"}',
        b'{"models": [1], "model": "good"}',
        b'{"model": " good"}',
        b'{"model": "good "}',
        b'{"model": "good\\u0000"}',
        b'{"model": "good\\nbad"}',
        b'{"messages": []}',
        b"{}",
        b'{"model": "good", "requests": [{"params": {"model": "bad"}}]}',
        b" ",
        b"",
        None,
    ],
)
@pytest.mark.parametrize("grant", [ONLY, ALL_BUT])
def test_what_can_be_read_in_two_ways_is_refused(body, grant):
    assert said(body, grant=grant) == 400


def test_a_forbidden_model_is_refused_whatever_its_case():
    for name in ("bad", "BAD-1", "vendor/bad", "Vendor/Bad-2"):
        assert said(orjson.dumps({"model": name}), grant=ALL_BUT) == 403
    assert said(b'{"model": "good"}', grant=ALL_BUT) == 200


@pytest.mark.parametrize(
    ("provider", "path", "body", "status"),
    [
        ("google-ai-studio", b"v1beta/models/good:generateContent", b"{}", 200),
        ("google-ai-studio", b"v1beta/models/bad:generateContent", b"{}", 403),
        ("google-ai-studio", b"v1beta/models/b%61d:generateContent", b"{}", 403),
        (
            "google-ai-studio",
            b"v1beta/models/good:generateContent",
            b'{"model": "models/bad"}',
            403,
        ),
        (
            "google-ai-studio",
            b"v1beta/models/good:embedContent",
            b'{"model": "models/good"}',
            200,
        ),
        (
            "google-ai-studio",
            b"v1beta/models/good:batchEmbedContents",
            b'{"requests": [{"model": "models/good"}]}',
            200,
        ),
        ("azure-openai", b"res/openai/deployments/good/chat/completions", b"{}", 200),
        ("azure-openai", b"res/openai/deployments/bad/chat/completions", b"{}", 403),
        (
            "azure-openai",
            b"res/openai/deployments/bad/chat/completions",
            b'{"model": "good"}',
            403,
        ),
        (
            "azure-openai",
            b"res/openai/deployments/good/chat/completions",
            b'{"model": "bad"}',
            403,
        ),
        ("azure-openai", b"res/openai/deployments/b%61d/chat/completions", b"{}", 403),
        ("google-ai-studio", b"v1/models/good/../bad:generateContent", b"{}", 400),
        ("google-ai-studio", b"v1/models/good%2F..%2Fbad:generateContent", b"{}", 400),
        ("openai", b"v1/chat//completions", b'{"model": "good"}', 400),
        ("aws-bedrock", b"bedrock-runtime/us-east-1/model/good/invoke", b"{}", 200),
        ("aws-bedrock", b"bedrock-runtime/us-east-1/model/bad/invoke", b"{}", 403),
        (
            "aws-bedrock",
            b"bedrock-runtime/us-east-1/model/bad/invoke",
            b'{"model": "good"}',
            403,
        ),
        ("openai", b"v1/chat/completions?model=bad", b'{"model": "good"}', 403),
        ("openai", b"v1/chat/completions?Model=bad", b'{"model": "good"}', 403),
        ("openai", b"v1/chat/completions?mod%65l=b%61d", b'{"model": "good"}', 403),
    ],
)
def test_each_place_that_names_a_model_has_to_be_allowed(provider, path, body, status):
    assert said(body, path, provider=provider) == status


def test_a_model_in_a_query_lets_no_batch_pass():
    batch = b'{"requests": [{"params": {"model": "bad"}}]}'
    for path in (b"v1/messages/batches?model=good", b"v1/batches?model=good"):
        for provider in ("openai", "anthropic", "openrouter"):
            assert said(batch, path, provider=provider) == 400


def test_a_forbidden_model_cannot_be_disguised_in_a_path():
    for name in (b"bad", b"b%61d", b"%62ad-1"):
        path = b"res/openai/deployments/%b/chat/completions" % name
        assert said(b"{}", path, provider="azure-openai", grant=ALL_BUT) == 403
    path = b"res/openai/deployments/fine/chat/completions"
    assert said(b"{}", path, provider="azure-openai", grant=ALL_BUT) == 200


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
def test_what_asks_no_model_anything_passes(method):
    assert said(b"", b"v1/models", method=method) == 200
    assert said(b'{"model": "bad"}', b"v1/models", method=method) == 403
    assert said(None, b"v1/models", method=method) == 400


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"QUERY"])
def test_without_a_model_nothing_is_sent(method):
    assert said(b"", b"v1/responses/1/cancel", method=method) == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"v1/realtime?model=good", 200),
        (b"v1/realtime?model=bad", 403),
        (b"v1/realtime?model=good&model=bad", 403),
        (b"v1/realtime?model=good&deployment=bad", 403),
        (b"v1/realtime", 400),
        (b"v1/responses?model=good", 400),
    ],
)
def test_a_websocket_names_its_model_in_its_address(path, status):
    upgrade = ((b"Upgrade", b"websocket"),)
    assert said(b"", path, method=b"GET", headers=upgrade) == status
