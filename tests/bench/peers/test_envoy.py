from __future__ import annotations

from bench.peers.envoy import PACKAGE, binary, config


def test_it_takes_the_prefix_off_and_goes_to_the_mock_without_a_time_limit():
    resources = config(8002, "http://127.0.0.1:9001")["static_resources"]
    listener, cluster = resources["listeners"][0], resources["clusters"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    route = manager["route_config"]["virtual_hosts"][0]["routes"][0]
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 8002}
    assert route["match"] == {"prefix": "/bench/"}
    assert route["route"] == {"cluster": cluster["name"], "prefix_rewrite": "/", "timeout": "0s"}
    assert manager["stream_idle_timeout"] == "0s"
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9001}


def test_it_writes_no_field_that_differs_from_request_to_request():
    """The mock remembers heads that repeat; what numbers its requests would cost it more."""
    listener = config(1, "http://127.0.0.1:2")["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["generate_request_id"] is False
    assert manager["http_filters"][-1]["typed_config"]["suppress_envoy_headers"] is True


def test_its_binary_is_that_of_the_cache():
    assert PACKAGE.folder in binary().parents
