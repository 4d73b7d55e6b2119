"""The most that a request may use is read from it, in each format's words."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway import estimate_input
from gateway.testing import exchange
from plugins.budget.demand import demand_of


@pytest.mark.parametrize(
    ("document", "output"),
    [
        ({}, None),
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 7, "n": 3}, 21),
        ({"max_tokens": 7, "best_of": 4, "n": 2}, 28),
        ({"max_completion_tokens": 9}, 9),
        ({"max_tokens": 7, "max_completion_tokens": 9}, 9),
        ({"max_output_tokens": 11}, 11),
        ({"generationConfig": {"maxOutputTokens": 13, "candidateCount": 2}}, 26),
        ({"generation_config": {"max_output_tokens": 13}}, 13),
        ({"inferenceConfig": {"maxTokens": 15}}, 15),
        ({"generationConfig": {"max_output_tokens": 13, "candidate_count": 2}}, 26),
        ({"max_tokens_to_sample": 17}, 17),
        ({"max_gen_len": 19}, 19),
        ({"maxTokens": 21}, 21),
        ({"textGenerationConfig": {"maxTokenCount": 23}}, 23),
        ({"inferenceConfig": {"max_new_tokens": 25}}, 25),
        ({"options": {"num_predict": 27}}, 27),
        ({"options": {"num_predict": -1}}, None),
        ({"parameters": {"max_new_tokens": 29}}, 29),
        ({"max_tokens": "7"}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 0}, None),
        ({"max_tokens": None, "n": None}, None),
        ({"max_tokens": 1e300}, int(1e300)),
        ({"max_tokens": 7, "generationConfig": "x", "inferenceConfig": {"maxTokens": []}}, 7),
    ],
)
def test_the_most_output(document: dict[str, Any], output):
    body = orjson.dumps({"model": "m", **document})
    found = demand_of(exchange(body=body))
    assert found is not None
    assert (found.model, found.input, found.output) == ("m", estimate_input(body), output)
    assert found.tier is None


def test_pictures_are_tokens_for_each_that_is_asked_for():
    body = b'{"model": "m", "n": 2, "quality": "low", "prompt": "a cat"}'
    found = demand_of(exchange(path=b"v1/images/generations", body=body))
    assert found is not None
    assert (found.output, found.answers, found.units()) == (816, 2, {"images": 2})


@pytest.mark.parametrize(
    ("part", "media"),
    [({"text": "Hi"}, False), ({"type": "input_audio"}, True), ({"image_url": "u"}, True)],
)
def test_sound_and_pictures_are_seen(part, media):
    body = orjson.dumps({"model": "m", "messages": [{"content": [part]}]})
    found = demand_of(exchange(body=body))
    assert found is not None
    assert found.has_media() is media


def test_where_no_maximum_is_stated_the_number_of_answers_is_known():
    found = demand_of(exchange(body=b'{"model": "m", "n": 5}'))
    assert found is not None
    assert (found.output, found.answers) == (None, 5)


@pytest.mark.parametrize(
    ("named", "tier"),
    [
        (b'"service_tier": "flex"', "flex"),
        (b'"speed": "fast"', "fast"),
        (b'"speed": "fast", "service_tier": "auto"', "fast"),
        (b'"speed": 1.25', None),  # of a voice
    ],
)
def test_the_tier_is_what_it_names(named, tier):
    found = demand_of(exchange(body=b'{"model": "m", %b}' % named))
    assert found is not None
    assert found.tier == tier


@pytest.mark.parametrize(
    "path",
    [
        b"v1/embeddings",
        b"v1/messages/count_tokens",
        b"v1beta/models/m:embedContent?key=x",
        b"v1beta/models/m:batchEmbedContents",
        b"v1beta/models/m:countTokens",
    ],
)
def test_some_answers_have_no_output(path):
    found = demand_of(exchange(path=path, body=b'{"model": "m"}'))
    assert found is not None
    assert found.output == 0


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"HEAD"])
def test_what_only_reads_uses_nothing(method):
    assert demand_of(exchange(method, b"v1/models")) is None


def test_a_session_names_its_model_in_its_address():
    fields = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
    found = demand_of(exchange(b"GET", b"v1/realtime?model=gpt%2Drealtime", headers=fields))
    assert found is not None
    assert (found.model, found.input, found.output) == ("gpt-realtime", 0, None)


def test_a_body_that_nobody_read_counts_by_its_length_if_it_is_json():
    for kind, size, read, units in [
        (b"application/json", b"4000", 1000, None),
        (b"multipart/form-data; boundary=x", b"4000", 0, {"input_audio_ms": 1000}),
    ]:
        made = exchange(headers=[(b"Content-Type", kind), (b"Content-Length", size)])
        found = demand_of(made)
        assert found is not None
        assert (found.input, found.units(), found.has_media()) == (read, units, True)
