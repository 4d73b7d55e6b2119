from __future__ import annotations

import sys
import types

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import dialect_of, load, shape_error
from gateway.errors import StartError
from gateway.sse import Event

BUILT_IN = ["openai", "openai_responses", "anthropic", "gemini"]


@pytest.mark.parametrize(
    ("family", "path", "expected"),
    [
        ("openai", b"chat/completions", "openai"),
        ("openai", b"v1/chat/completions?api-version=1", "openai"),
        ("openai", b"v1/embeddings", "openai"),
        ("openai", b"v1/models", "openai"),
        ("openai", b"responses", "openai_responses"),
        ("openai", b"v1/responses/", "openai_responses"),
        ("openai", b"v1/responses/resp_1?stream=true", "openai_responses"),
        ("openai", b"v1/messages", "anthropic"),
        ("openai", b"anthropic/v1/messages/count_tokens", "anthropic"),
        ("openai", b"v1/threads/thread_1/messages", "openai"),
        ("openai", b"v1/chat/completions/chatcmpl-1/messages", "openai"),
        ("openai", b"v1/completions/messages", "openai"),
        ("openai", b"v1beta/models/m:generateContent", "gemini"),
        ("anthropic", b"v1/messages", "anthropic"),
        ("anthropic", b"v1/messages/batches", "anthropic"),
        ("anthropic", b"v1/chat/completions", "openai"),
        ("gemini", b"v1beta/models/m:streamGenerateContent?alt=sse", "gemini"),
        ("gemini", b"v1beta/models/m:batchEmbedContents", "gemini"),
        ("gemini", b"v1beta/models", "gemini"),
        ("gemini", b"v1beta/openai/chat/completions", "openai"),
        ("gemini", b"v1/projects/p/publishers/anthropic/models/c:rawPredict", "anthropic"),
        ("gemini", b"v1/projects/p/endpoints/openapi/chat/completions", "openai"),
        ("openai_responses", b"anything", "openai_responses"),
        ("openai", b"x/" * 200 + b"responses", "openai_responses"),
        ("none", b"v1/chat/completions", None),
    ],
)
def test_the_path_chooses_a_format_within_the_family(
    family: str, path: bytes, expected: str | None
) -> None:
    dialect = dialect_of(family, path)
    assert (dialect.name if dialect else None) == expected


def test_a_dialect_of_ones_own_is_named_by_module_and_name() -> None:
    module = types.ModuleType("my_dialects")
    module.mine = load("openai")  # type: ignore[attr-defined]
    module.half = object()  # type: ignore[attr-defined]
    sys.modules["my_dialects"] = module
    try:
        assert load("my_dialects:mine") is load("openai")
        assert dialect_of("my_dialects:mine", b"v1/messages") is load("openai")
        with pytest.raises(StartError, match="lacks name, surface, model"):
            load("my_dialects:half")
        with pytest.raises(StartError, match="cannot be loaded"):
            load("my_dialects:nowhere")
    finally:
        del sys.modules["my_dialects"]


@pytest.mark.parametrize(
    ("name", "hint"), [("antropic", 'did you mean "anthropic"'), ("zzz", "built in are openai")]
)
def test_an_unknown_dialect_is_refused_with_the_nearest_name(name: str, hint: str) -> None:
    with pytest.raises(StartError, match=hint):
        load(name)


KEYS = [
    *("candidates", "choices", "content", "delta", "error", "message", "model", "output", "parts"),
    *("response", "status", "stream", "text", "type"),
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from(BUILT_IN), st.binary(max_size=20))
def test_no_document_makes_a_reader_raise(document: object, name: str, path: bytes) -> None:
    dialect = load(name)
    assert dialect is not None
    event = Event.make(orjson.dumps({"error": document, "finishReason": "message_stop"}))

    assert isinstance(dialect.model(document, path), str | None)
    assert isinstance(dialect.streams(document, path), bool)
    assert isinstance(dialect.error_in(document), str | None)
    assert isinstance(dialect.text(document), str)
    assert isinstance(dialect.is_end(event), bool)


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize(
    "raw", [b": ping\n\n", b"data: {\n\n", b'data: {"error"\n\n', b"\n\n", b"data: \xff\n\n"]
)
def test_what_is_no_json_is_no_end(name: str, raw: bytes) -> None:
    dialect = load(name)
    assert dialect is not None
    assert not dialect.is_end(Event(raw))


def test_plain_errors_have_a_code_and_a_message() -> None:
    body = orjson.loads(shape_error("plain", 404, "unknown_provider", "No such provider."))
    assert body == {"error": {"code": "unknown_provider", "message": "No such provider."}}
    assert shape_error("no such surface", 404, "c", "m") == shape_error("plain", 404, "c", "m")


@pytest.mark.parametrize(
    ("status", "code", "number"),
    [
        (404, "unknown_provider", 2008),
        (404, "unknown_gateway", 2001),
        (401, "unauthorized", 2009),
        (402, "over_budget", 2021),
        (404, "not_found", 7000),
        (405, "method", 7001),
        (429, "rate_limited", 2003),
        (400, "invalid_request", 7003),
        (502, "upstream_unreachable", 2005),
        (504, "upstream_timeout", 2005),
        (503, "draining", 2005),
        (500, "internal_error", 2000),
    ],
)
def test_cloudflare_errors_carry_the_number_its_clients_know(
    status: int, code: str, number: int
) -> None:
    body = orjson.loads(shape_error("cloudflare", status, code, "Because."))
    assert body == {
        "success": False,
        "result": [],
        "messages": [],
        "error": [{"code": number, "message": "Because."}],
        "name": "AiGatewayError",
        "httpCode": status,
        "internalCode": number,
        "message": "Because.",
        "description": "Because.",
    }


@pytest.mark.parametrize("surface", ["openai", "anthropic", "gemini", "cloudflare", "plain"])
def test_a_message_that_is_no_text_is_still_an_error(surface: str) -> None:
    assert b"odd ?" in shape_error(surface, 400, "invalid_request", "odd \udcff")
