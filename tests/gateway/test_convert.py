from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import pytest

from gateway.convert import (
    ConfigErrors,
    Problem,
    convert_table,
    nearest,
    secrets_in,
    shown,
    shown_path,
    wanted,
)
from gateway.errors import StartError
from gateway.proxies import ProxyUrl
from gateway.secret import Secret
from gateway.units import Duration, Size


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    weight: int = 1


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    share: float = 0.5
    on: bool = False
    mode: Literal["a", "b"] = "a"
    wait: Duration = Duration(1)
    room: Size = Size(1)
    key: Secret | None = None
    keys: tuple[Secret, ...] = ()
    names: tuple[str, ...] = ()
    rule: Rule = Rule("default")
    rules: tuple[Rule, ...] = ()
    by_name: Mapping[str, Rule] = {}
    prices: dict[str, float] = {}
    either: int | str = 0
    anything: Any = None


class Pair(msgspec.Struct, frozen=True):
    least: int = 0
    most: int = 10

    def __post_init__(self) -> None:
        if self.least > self.most:
            raise ValueError("most: must not be under least")
        if self.most > 100:
            raise ValueError("a pair this wide is no pair")


def texts(raw: dict[str, Any], type_: type = Sample, where: str = "plugins.x") -> list[str]:
    value, problems = convert_table(type_, raw, where=where, environ={})
    assert (value is None) == bool(problems)
    return [str(problem) for problem in problems]


def test_what_is_right_becomes_a_frozen_struct():
    raw = {
        "count": 3,
        "share": 1,
        "on": True,
        "mode": "b",
        "wait": "5s",
        "room": "2KiB",
        "key": "env:KEY",
        "names": ["a", "b"],
        "rule": {"name": "r"},
        "rules": [{"name": "s", "weight": 2}],
        "by_name": {"t": {"name": "t"}},
        "prices": {"gpt": 1.5},
        "either": "x",
        "anything": [1, {"a": 2}],
    }
    value, problems = convert_table(Sample, raw, where="plugins.x", environ={"KEY": "the value"})
    assert problems == []
    assert value is not None
    assert value.key is not None
    assert value.key.reveal() == b"the value"
    assert msgspec.structs.replace(value, key=None, by_name={}) == Sample(
        count=3,
        share=1.0,
        on=True,
        mode="b",
        wait=Duration(5_000_000_000),
        room=Size(2048),
        names=("a", "b"),
        rule=Rule("r"),
        rules=(Rule("s", 2),),
        prices={"gpt": 1.5},
        either="x",
        anything=[1, {"a": 2}],
    )
    assert dict(value.by_name) == {"t": Rule("t")}
    with pytest.raises(TypeError):
        value.by_name["u"] = Rule("u")  # type: ignore[index]
    with pytest.raises(AttributeError):
        value.count = 4  # type: ignore[misc]


def test_an_empty_table_gives_the_defaults():
    assert convert_table(Sample, {}, where="plugins.x") == (Sample(), [])


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("count", 0, "wanted a whole number from 1 to 9, given 0"),
        ("count", "3", 'wanted a whole number from 1 to 9, given "3"'),
        ("count", True, "wanted a whole number from 1 to 9, given true"),
        ("count", 1.5, "wanted a whole number from 1 to 9, given 1.5"),
        ("count", [1], "wanted a whole number from 1 to 9, given a list"),
        ("count", {"a": 1}, "wanted a whole number from 1 to 9, given a table"),
        ("share", "half", 'wanted a number, given "half"'),
        ("on", "yes", 'wanted true or false, given "yes"'),
        ("mode", "c", 'wanted one of "a", "b", given "c"'),
        (
            "wait",
            "5 parsecs",
            (
                'wanted a duration such as "5s" or "250ms", given "5 parsecs" '
                "(unknown unit; use ns, us, ms, s, m, h or d)"
            ),
        ),
        ("wait", True, 'wanted a duration such as "5s" or "250ms", given true'),
        (
            "room",
            "9",
            (
                'wanted a size such as "64KiB" or "10MB", given "9" '
                "(a number needs a unit: B, kB, MB, GB, TB, KiB, MiB, GiB or TiB)"
            ),
        ),
        ("names", "a", 'wanted a list, each text, given "a"'),
        ("rule", "a", 'wanted a table, given "a"'),
        ("rules", {"name": "a"}, "wanted a list, each a table, given a table"),
        ("by_name", ["a"], "wanted a table, given a list"),
        ("either", 1.5, "wanted a whole number or text, given 1.5"),
    ],
)
def test_a_wrong_value_says_what_is_wanted_and_what_was_given(key, value, text):
    assert texts({key: value}) == [f"[plugins.x] {key}: {text}"]


def test_every_problem_is_told_in_one_run():
    raw = {
        "cuont": 3,
        "on": 1,
        "names": ["a", 2, "b", 3],
        "rule": {"nmae": "r"},
        "rules": [{"name": "a"}, {"name": 1, "weihgt": 2}],
        "by_name": {"t": {"name": "t", "weight": "heavy"}},
        "prices": {"gpt": "cheap"},
        "nothing_like_it": 1,
        "ruels": {"a": 1},
    }
    assert texts(raw) == [
        "[plugins.x] cuont: no such key; did you mean count?",
        "[plugins.x] on: wanted true or false, given 1",
        "[plugins.x] names[1]: wanted text, given 2",
        "[plugins.x] names[3]: wanted text, given 3",
        "[plugins.x.rule] nmae: no such key; did you mean name?",
        "[plugins.x.rule] name: missing; wanted text",
        "[plugins.x] rules[1].name: wanted text, given 1",
        "[plugins.x] rules[1].weihgt: no such key; did you mean weight?",
        '[plugins.x.by_name.t] weight: wanted a whole number, given "heavy"',
        '[plugins.x.prices] gpt: wanted a number, given "cheap"',
        "[plugins.x] nothing_like_it: no such key",
        "[plugins.x] ruels: no such table; did you mean rules?",
    ]


@pytest.mark.parametrize("raw", [5, ["sk-live-secret"], {"a": "sk-live-secret"}, True])
def test_a_wrong_value_where_a_secret_belongs_is_never_shown(raw):
    for key in ("key", "keys"):
        (text,) = texts(
            {key: raw if key == "key" or not isinstance(raw, list) else "sk-live-secret"}
        )
        assert "sk-live" not in text
        assert text.startswith(f"[plugins.x] {key}: wanted ")


def test_the_value_of_an_unknown_key_is_not_shown_because_it_may_be_a_secret():
    assert texts({"kye": "sk-live-secret"}) == [
        "[plugins.x] kye: no such key; did you mean key?",
    ]


def test_a_structs_own_rule_is_a_problem_of_its_table_or_of_the_key_it_names():
    assert texts({"least": 5, "most": 1}, Pair) == [
        "[plugins.x] most: must not be under least",
    ]
    assert texts({"most": 101}, Pair) == ["[plugins] x: a pair this wide is no pair"]


def test_an_unknown_key_is_an_error_even_where_a_plugin_forgot_to_forbid_it():
    assert texts({"mots": 5}, Pair) == ["[plugins.x] mots: no such key; did you mean most?"]


def test_a_path_may_be_given_in_parts_when_a_name_holds_a_dot():
    _, problems = convert_table(Sample, {"on": 1}, where=("plugins", "a.b"))
    assert [problem.path for problem in problems] == [("plugins", "a.b", "on")]


def test_errors_are_one_text_with_a_line_each_and_none_twice():
    problem = Problem(("a", "b"), "is bad", nearest="c", place="config.toml:3")
    errors = ConfigErrors([problem, problem, Problem((), "no such file", place="x.toml")])
    assert isinstance(errors, StartError)
    assert str(errors) == ("config.toml:3: [a] b: is bad; did you mean c?\nx.toml: no such file")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("port",), "port"),
        (("server", "port"), "[server] port"),
        (("gateways", "a", "plugins", "b", "c"), "[gateways.a.plugins.b] c"),
        (("enabled", 2), "enabled[2]"),
        (("server", "allowed_hosts", 0), "[server] allowed_hosts[0]"),
        ((), ""),
    ],
)
def test_a_path_is_shown_as_readers_of_toml_know_it(path, text):
    assert shown_path(path) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", '"a"'),
        ("a\nb\x1b[31m", '"a\\nb\\x1b[31m"'),
        ("x" * 100, '"' + "x" * 56 + "..."),
        (1, "1"),
        (False, "false"),
        ([1], "a list"),
        ({}, "a table"),
    ],
)
def test_a_value_is_shown_short_and_without_control_bytes(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    ("type_", "words"),
    [
        (Annotated[int, msgspec.Meta(ge=2)], "a whole number of at least 2"),
        (Annotated[float, msgspec.Meta(le=2)], "a number of at most 2"),
        (Annotated[str, msgspec.Meta(pattern="^a$")], "text matching ^a$"),
        (Secret | None, 'a reference such as "env:NAME" or "file:/path"'),
        (ProxyUrl | None, "the URL of an HTTP proxy"),
        (dict[str, int], "a table"),
        (list[bool], "a list, each true or false"),
    ],
)
def test_types_are_told_in_words(type_, words):
    assert wanted(type_) == words


def test_secrets_are_found_wherever_they_lie():
    one, two = Secret(b"1"), Secret(b"2")
    urls = [ProxyUrl(url, {}) for url in ("http://us:word@p.example", "http://p.example", "")]
    value = {"a": Sample(key=one, keys=(two,)), "b": [one], "c": urls}
    assert [path for path, _ in secrets_in(value, ("top",))] == [
        ("top", "a", "key"),
        ("top", "a", "keys", 0),
        ("top", "b", 0),
        ("top", "c", 0),
    ]


@pytest.mark.parametrize(
    ("given", "found"),
    [("prot", "port"), ("PORT", "port"), ("hosst", "host"), ("zzz", ""), ("", "")],
)
def test_the_nearest_name_is_found_and_nothing_far_away(given, found):
    assert nearest(given, ["port", "host"]) == found
