"""What fits on a screen can be read: files and functions have limits, exceptions only shrink."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from tests.tidy.source import Tree, hold, repository

FILE_LINES_MAX = {"gateway": 300, "plugins": 400, "bench": 300}
FUNCTION_LINES_MAX = 60
# How far a ceiling may stand above what it holds.
SLACK_MAX = 20

# Files above the limit: ceiling and reason. An entry must be needed and tight.
LONGER: dict[str, tuple[int, str]] = {
    "gateway/caller.py": (
        710,
        "one connection is one state machine; its states share their fields",
    ),
    "gateway/duplex.py": (
        355,
        "the two ends of a tunnel and their deadlines are one state machine",
    ),
    "gateway/exchange.py": (394, "the record that flows; half of it is the list of its fields"),
    "gateway/line.py": (490, "one request from accept to account, to be read top to bottom"),
    "gateway/plugins.py": (393, "each fault of a plugin has its own message and way out"),
    "gateway/refusal.py": (355, "each thing refused has its own reason and message"),
    "gateway/relay.py": (510, "the plain and the watched relay keep one promise about the end"),
    "gateway/server.py": (347, "start, reload, drain and end mirror each other"),
    "gateway/upstream.py": (
        650,
        "one connection is one state machine; its states share their fields",
    ),
}
LONGER_FUNCTIONS: dict[str, tuple[int, str]] = {}


def long_files(tree: Tree, longer: Mapping[str, tuple[int, str]]) -> list[str]:
    sizes = {path: _lines(tree.texts[path]) for path in tree.under(*FILE_LINES_MAX)}
    limits = {path: FILE_LINES_MAX[path.partition("/")[0]] for path in sizes}
    return list(_judge(sizes, limits, longer))


def long_functions(tree: Tree, longer: Mapping[str, tuple[int, str]]) -> list[str]:
    sizes: dict[str, int] = {}
    for path in tree.under("gateway", "plugins", "bench", "tests"):
        for name, lines in _functions(tree.parsed(path)):
            sizes[f"{path}:{name}"] = max(lines, sizes.get(f"{path}:{name}", 0))
    return list(_judge(sizes, dict.fromkeys(sizes, FUNCTION_LINES_MAX), longer))


def _lines(text: str) -> int:
    return len(text.splitlines())


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, (node.end_lineno or node.lineno) - node.lineno + 1
            yield from _functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")
        else:
            yield from _functions(node, prefix)


def _judge(
    sizes: Mapping[str, int],
    limits: Mapping[str, int],
    longer: Mapping[str, tuple[int, str]],
) -> Iterator[str]:
    for name, size in sizes.items():
        ceiling, reason = longer.get(name, (limits[name], ""))
        if size > ceiling:
            yield f"{name}: {size} lines, at most {ceiling}; take something out"
        elif name in longer and size <= limits[name]:
            yield f"{name}: {size} lines fit in {limits[name]}, take it out of the table"
        elif name in longer and ceiling - size > SLACK_MAX:
            yield f"{name}: {size} lines, lower its ceiling of {ceiling}"
        elif name in longer and not reason:
            yield f"{name}: give the reason"
    for name in sorted(longer.keys() - sizes.keys()):
        yield f"{name}: is gone, take it out of the table"


def test_files_are_short():
    hold(long_files(repository(), LONGER))


def test_functions_are_short():
    hold(long_functions(repository(), LONGER_FUNCTIONS))


def test_the_rule_on_files_can_fail():
    tree = Tree(
        {
            "gateway/a.py": "\n" * 301,
            "gateway/b.py": "\n" * 301,
            "gateway/c.py": "\n" * 301,
            "gateway/d.py": "\n",
            "gateway/e.py": "\n" * 310,
            "gateway/f.py": "\n" * 310,
            "plugins/g.py": "\n" * 400,
        }
    )
    longer = {
        "gateway/b.py": (300, "too low"),
        "gateway/c.py": (400, "too high"),
        "gateway/d.py": (310, "not needed"),
        "gateway/e.py": (310, "a reason"),
        "gateway/f.py": (310, ""),
        "gateway/h.py": (310, "gone"),
    }
    assert long_files(tree, longer) == [
        "gateway/a.py: 301 lines, at most 300; take something out",
        "gateway/b.py: 301 lines, at most 300; take something out",
        "gateway/c.py: 301 lines, lower its ceiling of 400",
        "gateway/d.py: 1 lines fit in 300, take it out of the table",
        "gateway/f.py: give the reason",
        "gateway/h.py: is gone, take it out of the table",
    ]


def test_the_rule_on_functions_can_fail():
    body = "\n".join("        x = 1" for _ in range(FUNCTION_LINES_MAX))
    tree = Tree({"plugins/a.py": f"class Plugin:\n    async def send(self):\n{body}\n"})
    assert long_functions(tree, {}) == [
        "plugins/a.py:Plugin.send: 61 lines, at most 60; take something out"
    ]
