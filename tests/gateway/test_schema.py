from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
import pytest

from gateway.config import Config, Limits, ProviderConfig, Server
from gateway.providers import built_in_names
from gateway.proxies import ProxyUrl
from gateway.schema import keys, meanings, schema, written
from gateway.secret import Secret, resolve
from gateway.units import Duration, Size, parse_duration, parse_size


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule.

    name: Its name.
    """

    name: str


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sample table.

    size: How large: a word
        that goes on here.
    wait: How long.
    not_a_key: nothing.

    Further words, wait: not a meaning of a key, for a sentence begins elsewhere.
    """

    rules: tuple[Rule, ...]
    size: Size = parse_size("1KiB")
    wait: Duration = parse_duration("5s")
    key: Secret | None = None
    mode: Literal["a", "b"] = "a"
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    names: tuple[str, ...] = ("x",)
    rule: Rule = Rule("y")
    prices: Mapping[str, float] = {}


def test_meanings_are_the_docstrings_lines_for_each_key():
    assert meanings(Sample) == {
        "size": "How large: a word that goes on here.",
        "wait": "How long.",
    }


def test_keys_come_with_type_default_and_meaning_in_order():
    found = keys(Sample)
    assert [key.name for key in found] == list(Sample.__struct_fields__)
    assert (found[0].wanted, found[0].default) == ("a list, each a table", "")
    assert (found[1].default, found[1].meaning) == (
        '"1KiB"',
        "How large: a word that goes on here.",
    )
    assert [key.default for key in found[2:]] == ['"5s"', "", '"a"', "1", '["x"]', "", ""]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('a"b\n', '"a\\"b\\n"'),
        (True, "true"),
        (3, "3"),
        (0.5, "0.5"),
        (parse_duration("90s"), '"90s"'),
        (parse_size("64KiB"), '"64KiB"'),
        ((), "[]"),
        (("a", 1), '["a", 1]'),
        ({"a": 1, "b c": "x"}, '{ "a" = 1, "b c" = "x" }'),
        (None, ""),
        ({}, ""),
        (Secret(b"sk-live"), '"***"'),
        (resolve("env:KEY", {"KEY": "sk-live"}), '"env:KEY"'),
        (ProxyUrl("http://us:word@p.example:3128", {}), '"http://***@p.example:3128"'),
        (ProxyUrl("env:URL", {"URL": "http://us:word@p.example"}), '"env:URL"'),
        (ProxyUrl("", {}), '""'),
    ],
)
def test_values_are_written_as_in_toml_and_secrets_by_reference(value, text):
    assert written(value) == text


def definitions() -> dict[str, Any]:
    return schema({"sample": Sample, "server": Server}, ["openai", "mock"])["$defs"]


def test_the_schema_of_a_table_has_types_bounds_defaults_and_meanings():
    assert definitions()["Sample"] == {
        "type": "object",
        "additionalProperties": False,
        "description": "A sample table.",
        "required": ["rules"],
        "properties": {
            "rules": {"type": "array", "items": {"$ref": "#/$defs/Rule"}},
            "size": {
                "type": ["string", "number"],
                "pattern": r"^\s*\d+(\.\d+)? ?([KkMmGgTt][Ii]?)?[Bb]\s*$",
                "minimum": 0,
                "description": "How large: a word that goes on here.",
                "default": "1KiB",
            },
            "wait": {
                "type": ["string", "number"],
                "pattern": r"^\s*\d+(\.\d+)? ?(d|h|m|s|ms|us|ns)\s*$",
                "minimum": 0,
                "description": "How long.",
                "default": "5s",
            },
            "key": {"type": "string", "examples": ["env:NAME", "file:/run/secrets/NAME"]},
            "mode": {"enum": ["a", "b"], "default": "a"},
            "count": {"type": "integer", "minimum": 1, "default": 1},
            "names": {"type": "array", "items": {"type": "string"}, "default": ["x"]},
            "rule": {"$ref": "#/$defs/Rule"},
            "prices": {"type": "object", "additionalProperties": {"type": "number"}},
        },
    }


def test_plugins_tables_stand_at_the_top_and_in_every_named_gateway():
    found = definitions()
    expected = {"sample": {"$ref": "#/$defs/Sample"}, "server": {"$ref": "#/$defs/Server"}}
    assert found["Config"]["properties"]["plugins"]["properties"] == expected
    assert found["GatewayConfig"]["properties"]["plugins"]["properties"] == expected


def test_built_in_providers_are_offered_and_others_allowed():
    providers = definitions()["Config"]["properties"]["providers"]
    row = {"$ref": "#/$defs/ProviderConfig"}
    assert providers["properties"] == {"openai": row, "mock": row}
    assert providers["additionalProperties"] == row


def test_two_plugins_whose_structs_have_one_name_keep_their_own_tables():
    class Config(msgspec.Struct):
        """Another."""

        own: int = 1

    found = schema({"mine": Config}, [])
    (name,) = [name for name in found["$defs"] if name.endswith(".Config")]
    assert list(found["$defs"][name]["properties"]) == ["own"]
    assert found["$ref"] == "#/$defs/Config"
    assert "server" in found["$defs"]["Config"]["properties"]


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def test_every_reference_leads_somewhere_and_every_key_of_the_core_is_there():
    found = schema({}, built_in_names())
    assert {ref.removeprefix("#/$defs/") for ref in references(found)} == set(found["$defs"])
    for struct in (Config, Server, Limits, ProviderConfig):
        table = found["$defs"][struct.__name__]
        assert list(table["properties"]) == list(struct.__struct_fields__)
        assert all("description" in entry for entry in table["properties"].values())


@pytest.mark.parametrize("text", ["5s", "1.5 h", "250ms", "10us"])
def test_the_patterns_take_what_the_parser_takes(text):
    table = definitions()["Sample"]["properties"]
    assert re.search(table["wait"]["pattern"], text)
    assert parse_duration(text)


@pytest.mark.parametrize("text", ["64KiB", "1.5 mb", "7B", "2kB"])
def test_the_pattern_of_a_size_does_too(text):
    table = definitions()["Sample"]["properties"]
    assert re.search(table["size"]["pattern"], text)
    assert parse_size(text)


@pytest.mark.parametrize("text", ["5", "five", "5 parsecs", "64K", ""])
def test_the_patterns_refuse_what_the_parser_refuses(text):
    table = definitions()["Sample"]["properties"]
    for key, parse in (("wait", parse_duration), ("size", parse_size)):
        assert not re.search(table[key]["pattern"], text)
        with pytest.raises(ValueError):
            parse(text)


def config_of(fields: list[tuple[str, type, Any]]) -> type[msgspec.Struct]:
    """Give a plugin's Config; the module is the same for all."""
    return msgspec.defstruct("Config", fields, module="plugins.any.settings", frozen=True)


def test_structs_of_one_name_are_told_apart_by_their_plugins():
    types = {name: config_of([(f"of_{name}", int, 1)]) for name in ("first", "second")}
    found = schema(types, ())
    tables = found["$defs"]["Config"]["properties"]["plugins"]["properties"]
    assert tables == {name: {"$ref": f"#/$defs/{name}.Config"} for name in types}
    for name in types:
        assert list(found["$defs"][f"{name}.Config"]["properties"]) == [f"of_{name}"]
