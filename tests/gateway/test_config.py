from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.cli.registry import bundled
from gateway.config import (
    Admin,
    Config,
    GatewayConfig,
    Limits,
    Log,
    ProviderConfig,
    Server,
    merged,
)
from gateway.convert import convert_table
from gateway.schema import keys, meanings
from gateway.settings import load
from gateway.units import Duration, Size, parse_duration, parse_size

STRUCTS = [Config, Server, Admin, Limits, Log, ProviderConfig, GatewayConfig]

CONFIG_TOML = Path(__file__).parents[2] / "config.toml"

# The promises of the documentation; who changes one changes what every installation does.
DEFAULTS = {
    "header_timeout": parse_duration("10s"),
    "header_count_max": 128,
    "header_bytes_max": parse_size("64KiB"),
    "body_bytes_max": parse_size("1GiB"),
    "read_bytes_max": parse_size("32MiB"),
    "body_rate_min": parse_size("500B"),
    "body_rate_grace": parse_duration("10s"),
    "connections_max": 10_000,
    "origin_connections_max": 1_000,
    "pipeline_bytes_max": parse_size("64KiB"),
    "keepalive_timeout": parse_duration("75s"),
    "stall_timeout": parse_duration("60s"),
    "linger_timeout": parse_duration("2s"),
    "preview_bytes_max": parse_size("64KiB"),
    "attempts_max": 10,
    "call_depth_max": 3,
    "call_count_max": 16,
    "buffer_bytes_max": parse_size("64KiB"),
    "upstream_header_bytes_max": parse_size("256KiB"),
    "dns_cache_max": 256,
    "dns_cache_ttl": parse_duration("30s"),
    "idle_upstream_max": 64,
    "upstream_keepalive_timeout": parse_duration("60s"),
    "replay_bytes_max": parse_size("256KiB"),
    "websocket_idle_timeout": parse_duration("600s"),
    "websocket_message_bytes_max": parse_size("16MiB"),
}


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_every_key_has_a_meaning_and_every_meaning_a_key(struct):
    names = [field.name for field in msgspec.structs.fields(struct)]
    assert list(meanings(struct)) == names
    assert all(text.endswith(".") for text in meanings(struct).values())


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_every_struct_is_frozen_and_refuses_unknown_keys(struct):
    assert struct.__struct_config__.frozen
    assert struct.__struct_config__.forbid_unknown_fields


def test_the_limits_are_what_is_promised():
    limits = Limits()
    assert {name: getattr(limits, name) for name in limits.__struct_fields__} == DEFAULTS


def test_every_bound_in_bytes_is_a_size_and_every_time_a_duration():
    for struct in (Server, Limits, ProviderConfig):
        for field in msgspec.structs.fields(struct):
            if field.name.endswith(("_timeout", "_ttl", "_grace")):
                assert field.type is Duration, field.name
            if "_bytes_" in field.name:
                assert field.type is Size, field.name


def test_a_provider_waits_as_long_as_is_promised():
    provider = ProviderConfig()
    waits = (provider.connect_timeout, provider.first_byte_timeout, provider.idle_timeout)
    assert [str(wait) for wait in waits] == ["5s", "10m", "2m"]


def test_both_listeners_are_on_loopback_by_default():
    config = Config()
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8080)
    assert (config.admin.host, config.admin.port) == ("127.0.0.1", 8081)


def test_the_state_path_has_its_tilde_expanded():
    assert Config().state_path == Path.home() / ".local/state/weir"


def test_a_plugins_table_is_the_main_one_with_the_gateways_over_it():
    config = Config(
        plugins={"cache": {"ttl": "1m", "store": {"kind": "memory", "size": 1}}},
        gateways={"a": GatewayConfig(plugins={"cache": {"store": {"size": 2}}, "new": {"x": 1}})},
    )
    assert config.table("cache") == {"ttl": "1m", "store": {"kind": "memory", "size": 1}}
    assert config.table("cache", "a") == {"ttl": "1m", "store": {"kind": "memory", "size": 2}}
    assert config.table("new", "a") == {"x": 1}
    assert config.table("new") == {}
    assert config.table("nowhere", "a") == {}


def test_what_table_gives_is_the_askers_own():
    raw = {"store": {"size": 1}}
    config = Config(plugins={"cache": raw})
    config.table("cache")["store"]["size"] = 2
    assert raw == {"store": {"size": 1}}


@pytest.mark.parametrize(
    ("below", "above", "both"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        (
            {"a": {"b": 1, "c": {"d": 1}}},
            {"a": {"c": {"e": 2}}},
            {"a": {"b": 1, "c": {"d": 1, "e": 2}}},
        ),
    ],
)
def test_tables_merge_in_depth_and_other_values_replace(below, above, both):
    assert merged(below, above) == both


# -- config.toml


def uncommented() -> str:
    """Give config.toml with its examples switched on; they stand behind a # without a space."""
    return re.sub(r"^#(?=[\w\[])", "", CONFIG_TOML.read_text(), flags=re.MULTILINE)


def tables() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """Give the tables that config.toml holds, in their order."""
    yield "", Config
    yield "server", Server
    yield "admin", Admin
    yield "limits", Limits
    yield "log", Log
    yield "providers.openai", ProviderConfig
    for plugin in bundled():
        yield f"plugins.{plugin.name}", plugin.config_type
        for name, inner in within(plugin.config_type).items():
            yield f"plugins.{plugin.name}.{name}", inner
    yield "gateways.staging", GatewayConfig


def within(struct: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """Give the tables within a plugin's table, which stand under headers of their own."""
    fields = msgspec.structs.fields(struct)
    types = {field.name: field.type for field in fields}
    return {
        name: kind
        for name, kind in types.items()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    }


def written_keys() -> dict[str, list[tuple[str, str]]]:
    """Give the keys of each table of config.toml in order, with the comment above each."""
    found: dict[str, list[tuple[str, str]]] = {"": []}
    table, above = "", list[str]()
    for line in uncommented().splitlines():
        if header := re.fullmatch(r"\[([\w.]+)\]", line):
            table = header[1]
            found[table] = []
        elif key := re.match(r"(\w+) = ", line):
            found[table].append((key[1], " ".join(above)))
        above = [*above, line.removeprefix("# ")] if line.startswith("# ") else []
    return found


def test_config_toml_is_the_defaults():
    config = load(str(CONFIG_TOML), {}).config
    assert msgspec.structs.replace(config, plugins={}) == Config()


def test_config_toml_holds_every_plugins_defaults():
    config = load(str(CONFIG_TOML), {}).config
    types = {plugin.name: plugin.config_type for plugin in bundled()}
    for name, type_ in types.items():
        value, problems = convert_table(type_, config.table(name), where=("plugins", name))
        assert problems == []
        assert value == type_()
    assert set(config.plugins) <= set(types)


def test_config_toml_names_every_key_in_order_with_its_meaning():
    expected = {
        name: [
            (key.name, key.meaning)
            for key in keys(struct)
            # Tables within a table stand under their own headers.
            if name or key.default or key.name == "proxy"
            if (name, key.name) != ("gateways.staging", "plugins")
            if not (name.startswith("plugins.") and key.name in within(struct))
        ]
        for name, struct in tables()
    }
    found = written_keys()
    assert found.pop("gateways.staging.plugins.access_log", None) is not None
    assert found == expected
    assert list(found) == list(expected)


def test_the_examples_in_config_toml_can_be_switched_on(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(uncommented())
    config = load(str(file), {}).config
    assert list(config.providers) == ["openai"]
    assert list(config.gateways) == ["staging"]
    given = config.providers["openai"]
    for field in msgspec.structs.fields(ProviderConfig):
        if field.default is None:
            assert getattr(given, field.name) is not None
        else:
            assert getattr(given, field.name) == field.default


def test_config_toml_names_its_schema_first():
    assert CONFIG_TOML.read_text().startswith("#:schema ./docs/config.schema.json\n")
    assert (CONFIG_TOML.parent / "docs" / "config.schema.json").is_file()
