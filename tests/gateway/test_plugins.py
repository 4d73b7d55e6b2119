"""Plugins are found, checked and built at start, and every fault is named with the way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from gateway import StartError
from gateway.config import Config, GatewayConfig
from gateway.convert import ConfigErrors
from gateway.plan import ON_THE_LINE
from gateway.plugins import discover, load, replan

HEAD = "import contextlib\nimport msgspec\nfrom gateway import Reply, hookimpl\n"
EMPTY = "    def __init__(self, config): self.config = config\n"


def source(*methods: str, config: str = "", head: str = HEAD) -> str:
    """Give a plugin's file: attributes and methods of its class, each unindented."""
    lines = "\n".join(methods).splitlines()
    body = "".join(f"    {line}\n" for line in lines)
    return f'"""A plugin of the tests."""\n{head}{config}\nclass Plugin:\n{EMPTY}{body}'


def hook(name: str, arguments: str = "exchange", *, colour: str = "async ", mark: str = "") -> str:
    return f"{mark or '@hookimpl'}\n{colour}def {name}(self, {arguments}): pass"


@pytest.fixture
def write(tmp_path):
    """Write a plugin's file and give its path."""

    def written(text: str, name: str = "mine") -> str:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        return str(path)

    return written


def errors(config: Config) -> list[str]:
    with pytest.raises(ConfigErrors) as refused:
        load(config)
    assert isinstance(refused.value, StartError)
    return str(refused.value).splitlines()


# -- finding ---------------------------------------------------------------------------------------


def test_a_bundled_plugin_is_found_by_its_name():
    (one,) = load(Config(enabled=("request_id",))).plugins

    assert (one.name, one.source, one.module.__name__) == (
        "request_id",
        "bundled",
        "plugins.request_id",
    )
    assert one.summary == (sys.modules["plugins.request_id"].__doc__ or "").splitlines()[0]


def test_a_plugin_is_found_by_the_path_of_its_file(write):
    path = write(source("reads = 'json'", hook("limit"), hook("settle", colour="")))
    (one,) = load(Config(enabled=(path,))).plugins

    assert (one.name, one.source, one.summary) == ("mine", path, "A plugin of the tests.")
    assert (one.hooks, one.reads, one.fails) == (("limit", "settle"), "json", "closed")


def test_a_path_starts_from_the_configurations_folder(write, tmp_path):
    (tmp_path / "deeper").mkdir()
    write(source(), "deeper/own")
    (one,) = load(Config(enabled=("deeper/own.py",)), tmp_path).plugins

    assert (one.name, one.source) == ("own", str(tmp_path / "deeper/own.py"))


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Put a distribution with two entry points where installed ones are."""
    info = tmp_path / "weir_more-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: weir-more\nVersion: 1.0\n")
    points = "more = weir_more.plugin\ngone = weir_gone.plugin\n"
    (info / "entry_points.txt").write_text(f"[weir.plugins]\n{points}[other]\nno = weir_more\n")
    package = tmp_path / "weir_more"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text(source(hook("prepare")))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("weir_more", "weir_more.plugin"):
        sys.modules.pop(name, None)


def test_a_plugin_is_found_by_its_entry_point(distribution):
    (one,) = load(Config(enabled=("more",))).plugins

    assert (one.name, one.source) == ("more", "entry point weir_more.plugin")
    assert one.hooks == ("prepare",)


def test_an_entry_point_that_leads_nowhere_says_so(distribution):
    (found,) = errors(Config(enabled=("gone",)))

    assert found.startswith('enabled: plugin "gone" cannot be imported: ModuleNotFoundError: ')
    assert "weir_gone" in found


def test_all_that_could_be_enabled_is_listed_and_not_imported(distribution):
    found = discover()

    assert found["more"] == "entry point weir_more.plugin"
    assert found["access_log"] == "bundled"
    assert "no" not in found
    assert list(found) == sorted(found)
    assert "weir_more" not in sys.modules


def test_only_what_is_enabled_is_imported(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('enabled = ["request_id"]\n')
    code = (
        "import os, sys; from gateway import settings, plugins\n"
        f"loaded = settings.load({str(config)!r}, {{}})\n"
        "registry = plugins.load(loaded.config)\n"
        "plugins.discover()\n"
        "import orjson\n"
        "names = sorted(n for n in sys.modules if n.startswith('plugins.'))\n"
        "print(orjson.dumps(names).decode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, cwd=Path.cwd(), timeout=30
    )

    assert orjson.loads(done.stdout) == ["plugins.request_id"]


def test_with_nothing_enabled_the_plan_is_all_empty_tuples():
    registry = load(Config(enabled=()))
    plan = registry.plans["default"]

    assert registry.plugins == ()
    assert {name: getattr(plan, name) for name in ON_THE_LINE} == dict.fromkeys(ON_THE_LINE, ())


# -- checking --------------------------------------------------------------------------------------

# What is wrong with a plugin's class, and what is said about it.
FAULTS = {
    "unknown_hook": (hook("autenticate"), "unknown hook autenticate; did you mean authenticate?"),
    "unlike_any_hook": (hook("frobnicate"), "unknown hook frobnicate"),
    "wrong_argument": (
        hook("limit", "request"),
        "hook limit: takes (self, exchange), this one (self, request)",
    ),
    "an_argument_too_few": (
        hook("tap", "exchange", colour=""),
        "hook tap: takes (self, exchange, side), this one (self, exchange)",
    ),
    "arguments_in_another_order": (
        hook("send", "attempt, exchange"),
        "hook send: takes (self, exchange, attempt), this one (self, attempt, exchange)",
    ),
    "a_generator": (
        hook("limit", colour="").replace("pass", "yield"),
        "hook limit: must be a function, it may not yield",
    ),
    "an_async_generator": (
        hook("limit").replace("pass", "yield"),
        "hook limit: must be a function, it may not yield",
    ),
    "async_where_plain_is_wanted": (
        hook("settle"),
        "hook settle: must be a plain `def`, it may not await",
    ),
    "not_marked": (
        "async def limit(self, exchange): pass",
        "hook limit: the method is not marked; put @hookimpl above it",
    ),
    "options": (
        hook("limit", mark="@hookimpl(tryfirst=True)"),
        "hook limit: @hookimpl takes no options here; the order is that of `enabled`",
    ),
    "wrapper": (
        hook("limit", mark="@hookimpl(wrapper=True)") + "; yield",
        "hook limit: @hookimpl takes no options here; the order is that of `enabled`",
    ),
    "lifespan_without_its_decorator": (
        hook("lifespan", "gateway"),
        "hook lifespan: put @asynccontextmanager under @hookimpl",
    ),
    "lifespan_as_a_generator": (
        hook("lifespan", "gateway") + "; yield",
        "hook lifespan: put @asynccontextmanager under @hookimpl",
    ),
    "reads": ("reads = 'body'", "reads = 'body': wanted None, 'json' or 'all'"),
    "watches": ("watches = 'both'", "watches = 'both': wanted None, 'upstream' or 'caller'"),
    "fails": ("fails = 'soft'", "fails = 'soft': wanted 'open' or 'closed'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_plugin_is_named_with_plugin_and_hook(write, fault):
    method, said = FAULTS[fault]

    assert errors(Config(enabled=(write(source(method)),))) == [f'enabled: plugin "mine": {said}']


@pytest.mark.parametrize("marked", ["@hookimpl\n@contextlib.asynccontextmanager", "@hookimpl"])
def test_a_lifespan_may_be_any_function_that_gives_a_context_manager(write, marked):
    colour, body = ("async ", "yield") if "context" in marked else ("", "return object()")
    path = write(source(f"{marked}\n{colour}def lifespan(self, gateway): {body}"))

    assert load(Config(enabled=(path,))).plugins[0].hooks == ("lifespan",)


def test_methods_that_are_no_hooks_are_the_plugins_own(write):
    path = write(source("def help(self): pass", "async def _limit(self, request): pass"))

    assert load(Config(enabled=(path,))).plugins[0].hooks == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", 'plugin "PATH" (PATH) has no class Plugin'),
        ("Plugin = print\n", 'plugin "PATH" (PATH) has no class Plugin'),
        (
            "import no_such\n",
            "plugin \"PATH\" cannot be imported: ModuleNotFoundError: No module named 'no_such'",
        ),
        (
            "raise LookupError('not today')\n",
            'plugin "PATH" cannot be imported: LookupError: not today',
        ),
        (
            "class Plugin\n",
            "plugin \"PATH\" cannot be imported: SyntaxError: expected ':' (mine.py, line 1)",
        ),
        (
            source(config="class Config: pass\n"),
            'plugin "mine": Config is not a msgspec.Struct',
        ),
    ],
)
def test_a_file_that_is_no_plugin_says_why(write, text, said):
    path = write(text)

    assert errors(Config(enabled=(path,))) == ["enabled: " + said.replace("PATH", path)]


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ("acces_log", "; did you mean access_log?"),
        ("frobnicator", ""),
        ("nowhere/mine.py", ""),
        ("plugins.timing", "; did you mean timing?"),
    ],
)
def test_an_unknown_plugin_is_named_with_the_nearest_that_exists(entry, hint):
    where = "not in plugins/, no entry point of weir.plugins, no .py file"

    assert errors(Config(enabled=(entry,))) == [f'enabled: no plugin "{entry}": {where}{hint}']


def test_every_fault_of_every_plugin_is_found_in_one_run(write):
    one = write(source("reads = 1", hook("settle"), hook("tapp", "side")), "one")
    two = write(source(hook("pick")), "two")
    found = errors(Config(enabled=(one, "nobody", two), plugins={"timming": {}}))

    assert [line.partition(": ")[2][:16] for line in found] == [
        'plugin "one": ho',
        'plugin "one": un',
        'plugin "one": re',
        'no plugin "nobod',
        'plugin "two": ho',
        "a table for a pl",
    ]


# -- tables ----------------------------------------------------------------------------------------

CONFIG = (
    "class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):\n    size: int = 3\n"
)


def test_a_table_becomes_the_plugins_config(write):
    path = write(source(hook("limit"), config=CONFIG))
    registry = load(Config(enabled=(path,), plugins={"mine": {"size": 5}}))

    assert registry.plugins[0].instance.config.size == 5
    assert registry.plans["default"].settings["mine"].size == 5


def test_a_plugin_without_a_table_has_its_defaults(write):
    registry = load(Config(enabled=(write(source(config=CONFIG)),)))

    assert registry.plugins[0].instance.config.size == 3


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"size": "x"}, ["[plugins.mine] size"]),
        ({"sise": 1}, ["[plugins.mine] sise"]),
        ({"size": "x", "sise": 1}, ["[plugins.mine] sise", "[plugins.mine] size"]),
    ],
)
def test_what_is_wrong_in_a_table_is_named_by_its_key(write, table, said):
    found = errors(Config(enabled=(write(source(config=CONFIG)),), plugins={"mine": table}))

    assert sorted(line.partition(": ")[0] for line in found) == said


def test_a_key_of_a_plugin_that_has_none_is_refused(write):
    found = errors(Config(enabled=(write(source()),), plugins={"mine": {"size": 1}}))

    assert [line.partition(":")[0] for line in found] == ["[plugins.mine] size"]


def test_a_table_for_a_plugin_that_does_not_exist_is_refused(write):
    config = Config(
        enabled=(write(source()),),
        plugins={"acces_log": {}, "mine": {}, "timing": {}},
        gateways={"g": GatewayConfig(plugins={"myne": {}})},
    )

    assert errors(config) == [
        "[plugins] acces_log: a table for a plugin that does not exist; did you mean access_log?",
        "[gateways.g.plugins] myne: a table for a plugin that does not exist; did you mean mine?",
    ]


def test_a_constructor_may_refuse_its_config_in_its_own_words(write):
    text = source("def __init__(self, config): raise ValueError('size and no store')")

    assert errors(Config(enabled=(write(text),))) == [
        '[plugins] mine: plugin "mine" cannot be built: ValueError: size and no store'
    ]


def test_two_plugins_of_one_name_are_refused(write, tmp_path):
    (tmp_path / "other").mkdir()
    paths = (write(source()), write(source(), "other/mine"))
    (found,) = errors(Config(enabled=paths))

    assert "object at" not in found
    assert [word for word in ("mine", *paths) if word in found] == ["mine", *paths]


# -- named gateways --------------------------------------------------------------------------------


@pytest.fixture
def guards(write):
    """Write plugins: "keys" authenticates, "limits" limits, "logs" only accounts."""
    return (
        write(source(hook("authenticate"), config=CONFIG), "keys"),
        write(source(hook("limit")), "limits"),
        write(source(hook("account", colour="")), "logs"),
    )


def plan_names(registry, gateway: str) -> list[str]:
    """Give the plugins of a gateway's plan, in the order of its settings."""
    return list(registry.plans[gateway].settings)


def test_a_named_gateway_has_the_main_list_unless_it_has_its_own(guards):
    registry = load(Config(enabled=guards, gateways={"g": GatewayConfig()}))

    assert plan_names(registry, "g") == ["keys", "limits", "logs"]
    assert registry.plans["g"].gateway == "g"


def test_a_named_gateway_keeps_authenticators_and_limits(guards):
    _, _, logs = guards
    gateways = {"g": GatewayConfig(enabled=(logs,)), "empty": GatewayConfig(enabled=())}
    registry = load(Config(enabled=guards, gateways=gateways))

    assert plan_names(registry, "g") == ["keys", "limits", "logs"]
    assert plan_names(registry, "empty") == ["keys", "limits"]
    assert len(registry.plans["empty"].authenticate) == len(registry.plans["empty"].limit) == 1


def test_an_open_gateway_has_nothing_but_its_own(guards):
    _, limits, _ = guards
    gateways = {"g": GatewayConfig(enabled=(limits,), open=True)}
    registry = load(Config(enabled=guards, gateways=gateways))

    assert plan_names(registry, "g") == ["limits"]
    assert registry.plans["g"].authenticate == ()


def test_a_gateway_may_order_the_guards_itself(guards):
    keys, limits, _ = guards
    registry = load(Config(enabled=guards, gateways={"g": GatewayConfig(enabled=(limits, keys))}))

    assert plan_names(registry, "g") == ["limits", "keys"]


def test_a_plugin_that_only_a_gateway_enables_is_not_in_the_main_plan(guards):
    keys, _, logs = guards
    registry = load(Config(enabled=(keys,), gateways={"g": GatewayConfig(enabled=(logs,))}))

    assert plan_names(registry, "default") == ["keys"]
    assert plan_names(registry, "g") == ["keys", "logs"]


def test_a_plugin_is_built_once_and_each_gateway_has_its_own_settings(guards):
    keys, *_ = guards
    config = Config(
        enabled=(keys,),
        plugins={"keys": {"size": 5}},
        gateways={"g": GatewayConfig(plugins={"keys": {"size": 7}}), "h": GatewayConfig()},
    )
    registry = load(config)
    plans = registry.plans

    assert {name: plan.settings["keys"].size for name, plan in plans.items()} == {
        "default": 5,
        "g": 7,
        "h": 5,
    }
    assert calls(plans["default"]) == calls(plans["g"])


def calls(plan):
    return [hook.call for hook in plan.authenticate]


def test_what_is_wrong_in_a_gateways_table_is_named_by_its_key(guards):
    gateways = {"g": GatewayConfig(plugins={"keys": {"size": "x"}})}
    found = errors(Config(enabled=guards, gateways=gateways))

    assert [line.partition(": ")[0] for line in found] == ["[gateways.g.plugins.keys] size"]


def test_a_plugin_enabled_twice_runs_once(guards):
    keys, limits, _ = guards
    config = Config(
        enabled=(keys, limits, keys), gateways={"g": GatewayConfig(enabled=(limits, limits))}
    )
    plans = load(config).plans

    assert [len(plan.authenticate) for plan in plans.values()] == [1, 1]
    assert [len(plan.limit) for plan in plans.values()] == [1, 1]


# -- a reload --------------------------------------------------------------------------------------


def test_a_reload_gives_new_settings_to_the_same_plugins(guards):
    keys, limits, _ = guards
    registry = load(Config(enabled=(keys, limits)))
    changed = Config(
        enabled=(keys, limits),
        plugins={"keys": {"size": 9}},
        gateways={"new": GatewayConfig(enabled=(limits,))},
    )
    plans = replan(changed, registry)

    assert plans["default"].settings["keys"].size == 9
    assert calls(plans["default"]) == calls(registry.plans["default"])
    assert registry.plugins[0].instance.config.size == 3
    assert list(plans["new"].settings) == ["keys", "limits"]


@pytest.mark.parametrize(
    "change",
    [
        {"plugins": {"keys": {"size": "x"}}},
        {"plugins": {"kees": {}}},
        {"gateways": {"g": GatewayConfig(plugins={"keys": {"sise": 1}})}},
    ],
)
def test_a_reload_with_a_fault_is_refused(guards, change):
    keys, *_ = guards
    registry = load(Config(enabled=(keys,)))

    with pytest.raises(ConfigErrors):
        replan(Config(enabled=(keys,), **change), registry)


def test_a_reload_that_needs_a_plugin_that_is_not_there_is_refused(guards):
    keys, limits, _ = guards
    registry = load(Config(enabled=(keys,)))
    gateways = {"g": GatewayConfig(enabled=(limits,), open=True)}

    with pytest.raises(ConfigErrors, match="limits"):
        replan(Config(enabled=(keys,), gateways=gateways), registry)
