"""Who may know whom: plugins the door, the core no plugin, and inside the core all goes one way."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping

from tests.tidy.source import Tree, hold, imports, repository, typing_only

DOOR = "gateway/__init__.py"
# Packages that are imported by another name than their own.
IMPORTED_AS = {"pyjwt": "jwt"}
# More doors, each with the files that may use it: for the commands that plugins bring, and for what
# needs a package that is an extra.
DOORS = {"gateway.command": "/command_", "gateway.postgres": "/postgres.py"}

# Files of the core that may name plugins, with the reason; an entry that is no longer needed fails.
MAY_NAME_PLUGINS: dict[str, str] = {
    "gateway/config.py": "what is enabled where there is no file, as in config.toml",
}


def foreign_imports(tree: Tree) -> list[str]:
    """List what a plugin imports beside the standard library, declared packages and the door."""
    allowed = set(sys.stdlib_module_names) | declared(tree)
    door = exported(tree)
    complaints = []
    for path in tree.under("plugins"):
        own = ".".join(path.removesuffix(".py").split("/")[:2])
        for one in imports(tree, path):
            where = f"{path}:{one.line}"
            if one.module == "gateway":
                if one.name not in door:
                    complaints.append(f"{where}: gateway's door has no {one.name}")
            elif one.module in DOORS and DOORS[one.module] in path:
                pass
            elif one.module.startswith("gateway."):
                complaints.append(f"{where}: {one.module} is the core's own; use the door, gateway")
            elif one.module.startswith("plugins"):
                if not f"{one.module}.{one.name}.".startswith(f"{own}."):
                    complaints.append(f"{where}: no plugin knows another; use gateway.require()")
            elif one.module.partition(".")[0] not in allowed:
                complaints.append(f"{where}: {one.module} is not declared in pyproject.toml")
    return complaints


def declared(tree: Tree) -> set[str]:
    """Give the import names of the declared dependencies."""
    project = tree.toml("pyproject.toml")["project"]
    extras = project.get("optional-dependencies", {})
    wanted = [*project["dependencies"], *(text for extra in extras.values() for text in extra)]
    names = {re.split(r"[^\w.-]", text, maxsplit=1)[0].replace("-", "_") for text in wanted}
    return {IMPORTED_AS.get(name, name) for name in names}


def exported(tree: Tree) -> set[str]:
    """Give the names on the door: its `__all__`."""
    for node in tree.parsed(DOOR).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def undeclared(tree: Tree) -> list[str]:
    """List what the core imports beside the standard library, declared packages and itself."""
    allowed = set(sys.stdlib_module_names) | declared(tree) | {"gateway"}
    return [
        f"{path}:{one.line}: {one.module} is not declared in pyproject.toml"
        for path in tree.under("gateway")
        for one in imports(tree, path)
        if one.module.partition(".")[0] not in allowed | {"plugins"}
    ]


def named_plugins(tree: Tree, allowed: Mapping[str, str]) -> list[str]:
    """List where the core imports a plugin, spells its module, or keeps a list of plugins."""
    plugins = {name.split(".")[1] for name in tree.modules("plugins") if "." in name}
    complaints = []
    needed = set()
    for path in tree.under("gateway"):
        found = [*_plugin_imports(tree, path), *_plugin_words(tree.parsed(path), plugins)]
        needed.update([path] if found else [])
        if path not in allowed:
            complaints += [
                f"{path}:{line}: names {what}, but the core derives" for line, what in found
            ]
    return complaints + [
        f"{path}: names no plugin, take it out of MAY_NAME_PLUGINS"
        for path in sorted(allowed.keys() - needed)
    ]


def _plugin_imports(tree: Tree, path: str) -> Iterator[tuple[int, str]]:
    for one in imports(tree, path):
        if one.module.partition(".")[0] == "plugins":
            yield one.line, one.module


def _plugin_words(parsed: ast.Module, plugins: set[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(parsed):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for word in re.findall(r"\bplugins[./:](\w+)", node.value):
                if word in plugins:
                    yield node.lineno, f"plugins.{word}"
        elif isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict):
            members = node.keys if isinstance(node, ast.Dict) else node.elts
            words = {one.value for one in members if isinstance(one, ast.Constant)} & plugins
            # One word may mean anything; two names of plugins side by side are a list of them.
            if len(words) > 1:
                yield node.lineno, ", ".join(sorted(map(str, words)))


def graph(tree: Tree) -> dict[str, set[str]]:
    """Give who imports whom inside the core, at run time, wherever in the file it stands."""
    modules = tree.modules("gateway")
    edges: dict[str, set[str]] = {}
    for name, path in modules.items():
        targets = {one.within(modules) for one in imports(tree, path)}
        edges[name] = {target for target in targets if target is not None and target != name}
    return edges


def cycles(edges: Mapping[str, set[str]]) -> list[str]:
    """List the loops, each once, as a path that ends where it began."""
    found: dict[frozenset[str], str] = {}
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> None:
        if name in trail:
            loop = [*trail[trail.index(name) :], name]
            found.setdefault(frozenset(loop), " -> ".join(loop))
        elif name not in done:
            for target in sorted(edges.get(name, ())):
                visit(target, [*trail, name])
            done.add(name)

    for name in sorted(edges):
        visit(name, [])
    return sorted(found.values())


def through_the_door(tree: Tree) -> list[str]:
    """List where the core enters by its own door; it would load everything to get one name."""
    modules = tree.modules("gateway")
    return [
        f"{path}:{one.line}: import {one.name} from the module that defines it"
        for path in tree.under("gateway")
        for one in imports(tree, path)
        if path != DOOR and one.within(modules) == "gateway"
    ]


def late_annotations(tree: Tree) -> list[str]:
    """List files that import for types only and yet evaluate their annotations."""
    return [
        f"{path}: needs `from __future__ import annotations`"
        for path in tree.under("gateway", "plugins")
        if typing_only(tree.parsed(path))
        and not any(one.module == "__future__" for one in imports(tree, path))
    ]


def test_plugins_import_the_door_and_what_is_declared():
    hold(foreign_imports(repository()))


def test_the_core_imports_what_is_declared():
    hold(undeclared(repository()))


def test_the_core_names_no_plugin():
    hold(named_plugins(repository(), MAY_NAME_PLUGINS))


def test_imports_inside_the_core_run_one_way():
    hold(cycles(graph(repository())))


def test_the_core_does_not_use_its_own_door():
    hold(through_the_door(repository()))


def test_imports_for_types_have_late_annotations():
    hold(late_annotations(repository()))


PROJECT = '[project]\ndependencies = ["aiohttp>=3", "orjson"]\n'


def test_the_rule_on_plugins_can_fail():
    plugin = """
import time, orjson, requests
from aiohttp import web
from gateway import Reply, hookimpl, pool
from gateway.line import Line
from plugins import timing
from plugins.other import Plugin
from plugins.cache import store
from . import store
"""
    tree = Tree(
        {
            "pyproject.toml": PROJECT,
            "gateway/__init__.py": '__all__ = ["Reply", "hookimpl"]',
            "plugins/cache/__init__.py": plugin,
        }
    )
    assert foreign_imports(tree) == [
        "plugins/cache/__init__.py:2: requests is not declared in pyproject.toml",
        "plugins/cache/__init__.py:4: gateway's door has no pool",
        "plugins/cache/__init__.py:5: gateway.line is the core's own; use the door, gateway",
        "plugins/cache/__init__.py:6: no plugin knows another; use gateway.require()",
        "plugins/cache/__init__.py:7: no plugin knows another; use gateway.require()",
    ]


def test_the_rule_on_the_core_can_fail():
    tree = Tree(
        {"pyproject.toml": PROJECT, "gateway/line.py": "import requests, gateway.pool, ssl"}
    )
    assert undeclared(tree) == ["gateway/line.py:1: requests is not declared in pyproject.toml"]


def test_the_rule_on_naming_plugins_can_fail():
    core = """
from plugins import timing
load("plugins.cache")
ORDER = ["timing", "cache"]
word = ["timing", "status"]
load(f"plugins.{word}")
"""
    tree = Tree(
        {
            "gateway/line.py": core,
            "gateway/config.py": "",
            "plugins/cache.py": "",
            "plugins/timing.py": "",
        }
    )
    assert sorted(named_plugins(tree, {"gateway/config.py": ""})) == [
        "gateway/config.py: names no plugin, take it out of MAY_NAME_PLUGINS",
        "gateway/line.py:2: names plugins, but the core derives",
        "gateway/line.py:3: names plugins.cache, but the core derives",
        "gateway/line.py:4: names cache, timing, but the core derives",
    ]


def test_the_rule_on_cycles_can_fail():
    tree = Tree(
        {
            "gateway/a.py": "from gateway import b",
            "gateway/b.py": "def late():\n    from gateway.c import x",
            "gateway/c.py": "import gateway.a",
            "gateway/d.py": "from gateway.a import x",
        }
    )
    assert cycles(graph(tree)) == ["gateway.a -> gateway.b -> gateway.c -> gateway.a"]


def test_imports_for_types_make_no_cycle():
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gateway import b"
    tree = Tree({"gateway/a.py": typed, "gateway/b.py": "from gateway import a"})
    assert cycles(graph(tree)) == []
    assert late_annotations(tree) == ["gateway/a.py: needs `from __future__ import annotations`"]


def test_the_rule_on_the_door_can_fail():
    tree = Tree(
        {
            "gateway/__init__.py": "from gateway.reply import Reply",
            "gateway/line.py": "from gateway import Reply, reply",
            "gateway/reply.py": "",
        }
    )
    assert through_the_door(tree) == [
        "gateway/line.py:1: import Reply from the module that defines it"
    ]
