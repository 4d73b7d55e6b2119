from __future__ import annotations

import contextlib
import os
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config
from gateway.convert import ConfigErrors, Problem, convert_table
from gateway.secret import Secret
from gateway.settings import FILE_BYTES_MAX, Loaded, load, variable_name
from gateway.units import parse_duration

CONFIG = """\
enabled = ["mock"]

[server]
port = 9000 # ours
header_prefixes = [
  "x-",
  "y-",
]

[providers.google-ai-studio]
api_key = "env:GEMINI"

[plugins.cache]
ttl = "1m"

[gateways.staging]
hosts = ["staging.example"]
[gateways.staging.plugins.cache]
ttl = "2m"
"""


def load_text(folder: Path, text: str, **environ: str) -> Loaded:
    file = folder / "weir.toml"
    file.write_text(text)
    return load(str(file), environ)


def errors(folder: Path, text: str, **environ: str) -> list[str]:
    """Give the problems' lines, with the folder taken off."""
    with pytest.raises(ConfigErrors) as caught:
        load_text(folder, text, **environ)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


# -- where the file is found


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_file_the_defaults_hold(folder):
    loaded = load(None, {})
    assert (loaded.path, loaded.config, loaded.warnings) == (None, Config(), ())
    assert loaded.base == folder
    assert set(loaded.provenance.values()) == {"default"}


def test_the_working_directorys_file_is_taken(folder):
    (folder / "config.toml").write_text("[server]\nport = 1\n")
    loaded = load(None, {})
    assert (loaded.path, loaded.config.server.port) == ("config.toml", 1)
    assert loaded.base == folder


def test_the_variable_goes_before_the_working_directory(folder):
    (folder / "config.toml").write_text("[server]\nport = 1\n")
    other = folder / "deep" / "other.toml"
    other.parent.mkdir()
    other.write_text("[server]\nport = 2\n")
    loaded = load(None, {"WEIR_CONFIG": str(other)})
    assert (loaded.path, loaded.config.server.port, loaded.base) == (str(other), 2, other.parent)


def test_the_argument_goes_before_the_variable(folder):
    (folder / "a.toml").write_text("[server]\nport = 3\n")
    assert load("a.toml", {"WEIR_CONFIG": "none.toml"}).config.server.port == 3


def test_an_empty_variable_is_no_variable(folder):
    assert load(None, {"WEIR_CONFIG": ""}).path is None


@pytest.mark.parametrize("environ", [{}, {"WEIR_CONFIG": "none.toml"}])
def test_a_named_file_must_exist(folder, environ):
    with pytest.raises(ConfigErrors, match=r"^none\.toml: no such file$"):
        load(None if environ else "none.toml", environ)


def test_a_file_that_cannot_be_read_is_named_with_the_reason(folder):
    (folder / "d").mkdir()
    (folder / "long.toml").write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    for path, reason in {
        "d": "cannot be read: is a directory",
        "a\x00b": "cannot be read: embedded null byte",
        "long.toml": f"longer than {FILE_BYTES_MAX} bytes",
    }.items():
        with pytest.raises(ConfigErrors) as caught:
            load(path, {})
        assert str(caught.value) == f"{path}: {reason}"


# -- the file


def test_values_of_the_file_go_over_the_defaults(tmp_path):
    config = load_text(tmp_path, CONFIG).config
    assert config.enabled == ("mock",)
    assert (config.server.port, config.server.header_prefixes) == (9000, ("x-", "y-"))
    assert config.server.host == "127.0.0.1"
    assert config.table("cache") == {"ttl": "1m"}
    assert config.table("cache", "staging") == {"ttl": "2m"}
    assert config.gateways["staging"].enabled is None


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    file = tmp_path / "weir.toml"
    file.write_bytes(b"\xef\xbb\xbf[server]\r\nport = 1\r\n")
    assert load(str(file), {}).config.server.port == 1


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a = 1\nb = \n", "weir.toml:2: not TOML: invalid value"),
        (
            "[server\nport = 1",
            "weir.toml:1: not TOML: expected ']' at the end of a table declaration",
        ),
        ("a = 1\na = 2\n", "weir.toml:2: not TOML: cannot overwrite a value"),
        ('a = """x\n', "weir.toml:1: not TOML: unterminated string"),
        ("\na = " + "[" * 2000, "weir.toml:2: not TOML: nested too deep"),
        ("a." * 3000 + "b = 1\n", "weir.toml:1: not TOML: nested too deep"),
        ("a = " + "1" * 5000, "weir.toml:1: not TOML: a number has too many digits"),
    ],
)
def test_what_is_not_toml_is_told_with_its_line(tmp_path, text, error):
    assert errors(tmp_path, text) == [error]


def test_what_is_not_utf8_is_told_with_its_line(tmp_path):
    file = tmp_path / "weir.toml"
    file.write_bytes(b"# fine\n# also\na = '\xff'\n")
    with pytest.raises(ConfigErrors) as caught:
        load(str(file), {})
    assert str(caught.value) == f"{file}:3: not UTF-8"


BROKEN = """\
enabled = ["mock", 3]
state_dri = "/x"

[server]
prot = 8080
port = 99999
header_prefixes = [
  "weir-",
  "Bad",
]

[servr]
port = 1

[limits]
header_timeout = "5 parsecs"
stall_timeout = 0

[providers.openai]
base_url = "ftp://x"
api_kye = "sk-live-secret"

[providers.v1]

[log]
level = "loud"

[gateways.a]
hosts = ["one.example"]
pluggins = { x = 1 }
[gateways.b]
hosts = ["one.example", "a/b"]
open = "yes"
"""

ALL_THAT_IS_BROKEN = """\
weir.toml:1: enabled[1]: wanted text, given 3
weir.toml:2: state_dri: no such key; did you mean state_dir?
weir.toml:5: [server] prot: no such key; did you mean port?
weir.toml:6: [server] port: wanted a whole number from 0 to 65535, given 99999
weir.toml:9: [server] header_prefixes[1]: wanted a lower-case prefix that ends in "-", such as \
"weir-", given "Bad"
weir.toml:12: servr: no such table; did you mean server?
weir.toml:16: [limits] header_timeout: wanted a duration such as "5s" or "250ms", given \
"5 parsecs" (unknown unit; use ns, us, ms, s, m, h or d)
weir.toml:17: [limits] stall_timeout: wanted more than 0
weir.toml:20: [providers.openai] base_url: wanted an http:// or https:// URL, given "ftp://x"
weir.toml:21: [providers.openai] api_kye: no such key; did you mean api_key?
weir.toml:23: [providers] v1: "v1" is reserved; choose another name
weir.toml:26: [log] level: wanted one of "debug", "error", "info", "warning", given "loud"
weir.toml:30: [gateways.a] pluggins: no such table; did you mean plugins?
weir.toml:32: [gateways.b] hosts[1]: wanted a host name or address without scheme, port or path, \
given "a/b"
weir.toml:32: [gateways.b] hosts[0]: "one.example" selects gateway "a" already
weir.toml:33: [gateways.b] open: wanted true or false, given "yes"
WEIR_ADMIN__PORT: [admin] port: wanted a whole number from 0 to 65535, given "no"
"""


def test_everything_that_is_wrong_is_told_in_one_run_in_the_order_of_the_file(tmp_path):
    found = errors(tmp_path, BROKEN, WEIR_ADMIN__PORT="no")
    assert found == ALL_THAT_IS_BROKEN.splitlines()


def test_a_problem_holds_its_parts(tmp_path):
    with pytest.raises(ConfigErrors) as caught:
        load_text(tmp_path, "[server]\nprot = 1\n")
    assert caught.value.problems == (
        Problem(("server", "prot"), "no such key", nearest="port", place=f"{tmp_path}/weir.toml:2"),
    )


# -- the variables


@pytest.mark.parametrize(
    ("name", "value", "path", "expected"),
    [
        ("WEIR_STATE_DIR", "/var/lib/weir", ("state_dir",), "/var/lib/weir"),
        ("WEIR_SERVER__PORT", "1", ("server", "port"), 1),
        ("WEIR_SERVER__PORT", " 1 ", ("server", "port"), 1),
        ("WEIR_SERVER__HOST", "0.0.0.0", ("server", "host"), "0.0.0.0"),
        ("WEIR_SERVER__HOST", '"::1"', ("server", "host"), "::1"),
        ("WEIR_ENABLED", '["a", "b"]', ("enabled",), ("a", "b")),
        ("WEIR_ENABLED", "[]", ("enabled",), ()),
        ("WEIR_SERVER__DRAIN_TIMEOUT", "5s", ("server", "drain_timeout"), parse_duration("5s")),
        ("WEIR_SERVER__DRAIN_TIMEOUT", "5", ("server", "drain_timeout"), parse_duration("5s")),
        ("WEIR_LOG__LEVEL", "debug", ("log", "level"), "debug"),
        ("WEIR_STATE_DIR", "/a = 1\nb = 2", ("state_dir",), "/a = 1\nb = 2"),
        ("WEIR_STATE_DIR", "1979-05-27", ("state_dir",), "1979-05-27"),
        ("WEIR_STATE_DIR", "{a = 1}", ("state_dir",), "{a = 1}"),
    ],
)
def test_a_variable_goes_over_the_file(tmp_path, name, value, path, expected):
    loaded = load_text(tmp_path, CONFIG, **{name: value})
    got: Any = loaded.config
    for part in path:
        got = getattr(got, part)
    assert got == expected
    assert loaded.provenance[".".join(path)] == f"env {name}"


def test_a_variable_reaches_the_tables_of_plugins_and_gateways(tmp_path):
    loaded = load_text(
        tmp_path,
        CONFIG,
        WEIR_PLUGINS__CACHE__TTL="5m",
        WEIR_PLUGINS__ACCESS_LOG__FIELDS='["a"]',
        WEIR_PLUGINS__ACCESS_LOG__DEEP__ER="true",
        WEIR_GATEWAYS__STAGING__OPEN="true",
        WEIR_GATEWAYS__STAGING__PLUGINS__CACHE__SIZE="3",
    )
    config = loaded.config
    assert config.table("cache") == {"ttl": "5m"}
    assert config.table("cache", "staging") == {"ttl": "2m", "size": 3}
    assert config.table("access_log") == {"fields": ["a"], "deep": {"er": True}}
    assert config.gateways["staging"].open
    assert loaded.provenance["plugins.cache.ttl"] == "env WEIR_PLUGINS__CACHE__TTL"
    assert loaded.provenance["plugins.access_log.deep.er"] == (
        "env WEIR_PLUGINS__ACCESS_LOG__DEEP__ER"
    )


def test_a_variable_names_a_provider_with_underscores_for_dashes(tmp_path):
    loaded = load_text(
        tmp_path,
        CONFIG,
        WEIR_PROVIDERS__GOOGLE_AI_STUDIO__IDLE_TIMEOUT="5s",
        WEIR_PROVIDERS__AWS_BEDROCK__CONNECTIONS_MAX="7",
        WEIR_PROVIDERS__OPENAI__API_KEY="env:OTHER",
        OTHER="the-other-key",
    )
    providers = loaded.config.providers
    assert list(providers) == ["google-ai-studio", "aws-bedrock", "openai"]
    assert str(providers["google-ai-studio"].idle_timeout) == "5s"
    assert providers["aws-bedrock"].connections_max == 7
    key = providers["openai"].api_key
    assert key is not None
    assert (key.reference, key.reveal()) == ("env:OTHER", b"the-other-key")


def test_a_name_that_the_file_writes_with_underscores_keeps_them(tmp_path):
    text = "[providers.my_own]\nbase_url = 'http://a'\n"
    loaded = load_text(tmp_path, text, WEIR_PROVIDERS__MY_OWN__CONNECTIONS_MAX="7")
    assert loaded.config.providers["my_own"].connections_max == 7
    assert list(loaded.config.providers) == ["my_own"]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("WEIR_SERVER__PROT", "1", "[server] prot: no such key; did you mean WEIR_SERVER__PORT?"),
        ("WEIR_SERVR__PORT", "1", "servr: no such table; did you mean WEIR_SERVER__PORT?"),
        ("WEIR_STATE_DRI", "/x", "state_dri: no such key; did you mean WEIR_STATE_DIR?"),
        ("WEIR_CONFGI", "x", "confgi: no such key; did you mean WEIR_CONFIG?"),
        ("WEIR_NOTHING_LIKE_IT", "x", "nothing_like_it: no such key"),
        ("WEIR_", "x", "no such key: a part of the name is empty"),
        ("WEIR_SERVER__", "x", "[server] : no such key: a part of the name is empty"),
        ("WEIR_ENABLED__X", "x", "[enabled] x: no such key: what stands before it is not a table"),
        ("WEIR_SERVER", "x", 'server: wanted a table, given "x"'),
        ("WEIR_ENABLED", "a,b", 'enabled: wanted a list, each text, given "a,b"'),
        ("WEIR_SERVER__HOST", "80", "[server] host: wanted text, given 80"),
        (
            "WEIR_PROVIDERS__GOOGLE_AI_STUDIO__API_KYE",
            "sk-live-secret",
            (
                "[providers.google-ai-studio] api_kye: no such key; did you mean "
                "WEIR_PROVIDERS__GOOGLE_AI_STUDIO__API_KEY?"
            ),
        ),
        (
            "WEIR_SERVER__ALLOWED_HOSTS",
            '["a", "b/c"]',
            (
                "[server] allowed_hosts[1]: wanted a host name or address without scheme, port "
                'or path, given "b/c"'
            ),
        ),
    ],
)
def test_a_wrong_variable_is_named_with_the_right_one(tmp_path, name, value, error):
    text = CONFIG if "SERVR" not in name else ""
    assert errors(tmp_path, text, **{name: value}) == [f"{name}: {error}"]


@pytest.mark.parametrize(
    "name",
    [
        "WEIR_SERVICE_HOST",
        "WEIR_SERVICE_PORT",
        "WEIR_SERVICE_PORT_HTTP",
        "WEIR_PORT",
        "WEIR_PORT_8080_TCP",
        "WEIR_PORT_8080_TCP_ADDR",
        "WEIR_PORT_8080_UDP_PROTO",
        "WEIRD",
        "weir_server__port",
        "OPENAI_API_KEY",
    ],
)
def test_a_variable_of_somebody_else_is_left_alone(tmp_path, name):
    assert load_text(tmp_path, "", **{name: "tcp://10.0.0.1:8080"}).config == Config()


def test_the_environment_is_not_read_behind_the_callers_back(tmp_path, monkeypatch):
    monkeypatch.setenv("WEIR_SERVER__PORT", "1234")
    monkeypatch.setenv("WEIR_TEST_KEY", "leaked")
    text = "[providers.a]\nbase_url = 'http://a'\napi_key = 'env:WEIR_TEST_KEY'\n"
    config = load_text(tmp_path, text).config
    assert config.server.port == 8080
    key = config.providers["a"].api_key
    assert key is not None
    assert key.missing


@given(st.text(alphabet=st.characters(exclude_characters="\x00"), max_size=40))
def test_any_text_in_a_variable_is_a_value_or_a_problem(text):
    read: Any = text
    with contextlib.suppress(tomllib.TOMLDecodeError):
        table = tomllib.loads(f"v = {text}")
        read = table["v"] if len(table) == 1 else text
    if isinstance(read, bool | int | float | list) or not text.strip() or read == "":
        with pytest.raises(ConfigErrors, match=r"^WEIR_STATE_DIR: state_dir: wanted "):
            load(os.devnull, {"WEIR_STATE_DIR": text})
    else:
        assert load(os.devnull, {"WEIR_STATE_DIR": text}).config.state_dir in (text, read)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("state_dir",), "WEIR_STATE_DIR"),
        (("server", "port"), "WEIR_SERVER__PORT"),
        (("providers", "google-ai-studio", "api_key"), "WEIR_PROVIDERS__GOOGLE_AI_STUDIO__API_KEY"),
    ],
)
def test_every_key_has_a_variable(path, name):
    assert variable_name(path) == name


def test_every_key_of_the_core_can_be_set_by_its_variable(tmp_path):
    config = Config()
    values = {"host": '"localhost"', "level": '"error"', "format": '"json"'}
    values |= {"socket_mode": '"0600"', "proxy_protocol": "false"}
    values |= dict.fromkeys(("socket", "tls_cert", "tls_key"), '""')
    environ, paths = {}, []
    for table in ("server", "admin", "limits", "log"):
        for field in msgspec.structs.fields(getattr(config, table)):
            path = (table, field.encode_name)
            default = getattr(getattr(config, table), field.name)
            given = values.get(field.name, "[]" if default == () else "7")
            environ[variable_name(path)] = '["x-"]' if field.name == "header_prefixes" else given
            paths.append(".".join(path))
    environ["WEIR_ADMIN__PORT"] = "8"
    provenance = load_text(tmp_path, "", **environ).provenance
    assert {provenance[path] for path in paths} == {f"env {name}" for name in environ}


# -- where values come from


def test_provenance_names_file_and_line_or_the_variable_or_the_default(tmp_path):
    loaded = load_text(tmp_path, CONFIG, WEIR_ADMIN__PORT="1")
    file = f"file {tmp_path}/weir.toml"
    assert {key: loaded.provenance[key] for key in ("enabled", "server.port", "server.host")} == {
        "enabled": f"{file}:1",
        "server.port": f"{file}:4",
        "server.host": "default",
    }
    assert loaded.provenance["server.header_prefixes"] == f"{file}:5"
    assert loaded.provenance["admin.port"] == "env WEIR_ADMIN__PORT"
    assert loaded.provenance["providers.google-ai-studio.api_key"] == f"{file}:11"
    assert loaded.provenance["providers.google-ai-studio.idle_timeout"] == "default"
    assert loaded.provenance["plugins.cache.ttl"] == f"{file}:14"
    assert loaded.provenance["gateways.staging.plugins.cache.ttl"] == f"{file}:19"


# -- what is found later


class Cache(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ttl: int = 1
    size: int = 1
    key: Secret | None = None


def later(loaded: Loaded, gateway: str | None = None) -> list[str]:
    where = ("plugins", "cache") if gateway is None else ("gateways", gateway, "plugins", "cache")
    raw = loaded.config.table("cache", gateway)
    _, problems = convert_table(Cache, raw, where=where)
    return str(loaded.placed(ConfigErrors(problems))).splitlines()


def test_a_plugins_problems_get_their_places_afterwards(tmp_path):
    loaded = load_text(tmp_path, CONFIG, WEIR_PLUGINS__CACHE__SZIE="3")
    assert later(loaded) == [
        f'{tmp_path}/weir.toml:14: [plugins.cache] ttl: wanted a whole number, given "1m"',
        (
            "WEIR_PLUGINS__CACHE__SZIE: [plugins.cache] szie: no such key; "
            "did you mean WEIR_PLUGINS__CACHE__SIZE?"
        ),
    ]


def test_a_named_gateways_problem_is_placed_where_the_value_stands(tmp_path):
    loaded = load_text(tmp_path, CONFIG.replace('"1m"\n', '"1m"\nsize = "big"\n'))
    assert later(loaded, "staging") == [
        (
            f"{tmp_path}/weir.toml:15: [gateways.staging.plugins.cache] size: "
            'wanted a whole number, given "big"'
        ),
        (
            f"{tmp_path}/weir.toml:20: [gateways.staging.plugins.cache] ttl: "
            'wanted a whole number, given "2m"'
        ),
    ]


def test_a_problem_of_a_missing_table_stands_at_the_table_above_or_nowhere(tmp_path):
    loaded = load_text(tmp_path, CONFIG)
    problems = [
        Problem(("plugins", "other", "key"), "missing"),
        Problem(("admin", "key"), "missing"),
        Problem(("enabled",), 'no plugin "mock"'),
    ]
    assert str(loaded.placed(ConfigErrors(problems))).splitlines() == [
        "[admin] key: missing",
        f'{tmp_path}/weir.toml:1: enabled: no plugin "mock"',
        f"{tmp_path}/weir.toml:13: [plugins.other] key: missing",
    ]


def test_warnings_have_their_places(tmp_path):
    text = "[providers.a]\nbase_url = 'http://a'\napi_key = 'sk-live-secret'\n"
    loaded = load_text(tmp_path, text, WEIR_SERVER__HOST="0.0.0.0")
    assert [warning.partition(": ")[0] for warning in loaded.warnings] == [
        "WEIR_SERVER__HOST",
        f"{tmp_path}/weir.toml:3",
    ]
    assert "sk-live-secret" not in " ".join(loaded.warnings)


def test_a_key_that_a_variable_brings_does_not_stand_in_a_file(tmp_path):
    name = "WEIR_PROVIDERS__OPENAI__API_KEY"
    loaded = load_text(tmp_path, "", **{name: "sk-live-secret"})
    assert loaded.warnings == ()
    assert loaded.provenance["providers.openai.api_key"] == f"env {name}"


def test_a_plugins_inline_secrets_are_warned_about(tmp_path):
    loaded = load_text(tmp_path, "[plugins.cache]\nkey = 'sk-live-secret'\n")
    value, _ = convert_table(Cache, loaded.config.table("cache"), where="plugins.cache")
    assert loaded.inline_secrets(value, ("plugins", "cache")) == (
        (
            f"{tmp_path}/weir.toml:2: [plugins.cache] key: the secret stands in the file itself; "
            'write "env:NAME" or "file:/path"'
        ),
    )
    assert loaded.inline_secrets(Cache(key=Secret(b"x", reference="env:X")), ()) == ()


def test_a_proxys_url_is_read_and_its_inline_password_warned_about(tmp_path):
    text = "proxy = 'http://us:open-sesame@p.example:3128'\n[providers.openai]\nproxy = 'env:URL'\n"
    loaded = load_text(tmp_path, text, URL="http://us:open-sesame@p.example:3129")
    config = loaded.config
    assert config.proxy is not None
    assert config.providers["openai"].proxy is not None
    found = [config.proxy.proxy, config.providers["openai"].proxy.proxy]
    assert [proxy and proxy.port for proxy in found] == [3128, 3129]
    (warning,) = loaded.warnings
    assert warning.startswith(f"{tmp_path}/weir.toml:1: proxy: the secret stands in the file")
    assert load_text(tmp_path, "proxy = 'http://p.example'\n").warnings == ()


def test_a_proxys_url_that_is_none_has_its_place_and_is_not_quoted(tmp_path):
    text = "proxy = 'socks5://us:open-sesame@p.example'\n[providers.openai]\nproxy = 'env:URL'\n"
    found = errors(tmp_path, text)
    assert found[0].startswith("weir.toml:1: proxy: wanted the URL of an HTTP proxy, given text (")
    assert "sesame" not in found[0]
    assert found[1].endswith("given text (env:URL is not set)")


def test_a_variable_sets_the_proxy_or_switches_it_off(tmp_path):
    loaded = load_text(tmp_path, "proxy = 'http://a.example'\n", WEIR_PROXY="")
    assert loaded.config.proxy is not None
    assert loaded.config.proxy.proxy is None
