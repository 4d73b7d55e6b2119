from __future__ import annotations

import orjson

from bench.options import BODY, FIELDS
from bench.peers.litellm import ENVIRONMENT, config


def test_its_one_model_is_the_one_that_is_asked_for_and_lives_at_the_mock():
    found = config("http://127.0.0.1:9001")
    (model,) = found["model_list"]
    assert model["model_name"] == orjson.loads(BODY)["model"]
    assert model["litellm_params"]["api_base"] == "http://127.0.0.1:9001/v1"


def test_it_asks_for_the_key_that_each_request_brings():
    key = config("http://127.0.0.1:9001")["general_settings"]["master_key"]
    assert FIELDS["Authorization"] == f"Bearer {key}"


def test_the_script_goes_up_nothing_is_tried_twice_and_nobody_is_called_at_the_start():
    found = config("http://127.0.0.1:9001")
    assert found["general_settings"]["forward_client_headers_to_llm_api"] is True
    assert found["litellm_settings"]["num_retries"] == 0
    assert ENVIRONMENT["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
