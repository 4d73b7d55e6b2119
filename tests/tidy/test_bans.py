"""What we do not write, and what we write in its place. Exceptions have reasons and are needed."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.tidy.source import ROOT, Tree, hold, imports, repository

CODE = ("gateway", "plugins", "bench")
PRODUCT = ("gateway", "plugins")
TESTS = ("tests",)


class Ban:
    """What is forbidden in which folders, what to use instead, where it is allowed and why."""

    def __init__(
        self,
        what: str,
        instead: str,
        folders: tuple[str, ...],
        find: Callable[[Tree, str], Iterator[int]],
        allowed: Mapping[str, str] | None = None,
    ) -> None:
        self.what = what
        self.instead = instead
        self.folders = folders
        self.find = find
        self.allowed = allowed or {}

    def complaints(self, tree: Tree) -> list[str]:
        found = []
        needed: set[str] = set()
        for path in tree.under(*self.folders):
            lines = sorted(set(self.find(tree, path)))
            needed.update(allow for allow in self.allowed if lines and path.startswith(allow))
            if not any(path.startswith(allow) for allow in self.allowed):
                found += [f"{path}:{line}: {self.what}; use {self.instead}" for line in lines]
        idle = sorted(self.allowed.keys() - needed)
        return found + [f"{path}: no longer needs to be allowed {self.what}" for path in idle]


def calls(*names: str) -> Callable[[Tree, str], Iterator[int]]:
    """Find calls and mentions of a module's functions, whichever way they were imported."""

    def find(tree: Tree, path: str) -> Iterator[int]:
        known = _aliases(tree, path)
        for node in ast.walk(tree.parsed(path)):
            if isinstance(node, ast.Attribute | ast.Name):
                head, dot, rest = ast.unparse(node).partition(".")
                if known.get(head, head) + dot + rest in names:
                    yield node.lineno

    return find


def _aliases(tree: Tree, path: str) -> dict[str, str]:
    known = {}
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.Import):
            known.update({alias.asname: alias.name for alias in node.names if alias.asname})
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return known


def module(name: str) -> Callable[[Tree, str], Iterator[int]]:
    """Find imports of a module or of something in it."""

    def find(tree: Tree, path: str) -> Iterator[int]:
        for one in imports(tree, path):
            full = f"{one.module}.{one.name}." if one.name else f"{one.module}."
            if full.startswith(f"{name}."):
                yield one.line

    return find


def dropped_tasks(tree: Tree, path: str) -> Iterator[int]:
    """Find tasks whose reference is dropped; the garbage collector may end them at any time."""
    makers = ("create_task", "ensure_future")
    for node in ast.walk(tree.parsed(path)):
        value = node.value if isinstance(node, ast.Expr) else None
        value = node.body if isinstance(node, ast.Lambda) else value
        if isinstance(value, ast.Call) and ast.unparse(value.func).endswith(makers):
            yield value.lineno


def silent_excepts(tree: Tree, path: str) -> Iterator[int]:
    """Find handlers of everything that do nothing."""
    for node in ast.walk(tree.parsed(path)):
        match node:
            case ast.ExceptHandler(type=kind, body=body):
                if _catches_all(kind) and all(map(_does_nothing, body)):
                    yield node.lineno
            case ast.Call(func=function, args=arguments):
                if ast.unparse(function).endswith("suppress") and any(map(_catches_all, arguments)):
                    yield node.lineno


def _catches_all(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(ast.unparse(one) in ("Exception", "BaseException") for one in kinds)


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Pass | ast.Continue):
        return True
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def skips(tree: Tree, path: str) -> Iterator[int]:
    """Find tests that need not run or need not pass."""
    marks = ("mark.skip", "mark.skipif", "mark.xfail")
    plain = ("pytest.skip", "pytest.xfail", "pytest.importorskip", "unittest.skip")
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if name in plain or name.endswith(marks):
                yield node.lineno


def patches(tree: Tree, path: str) -> Iterator[int]:
    """Find code that is replaced under test; to set the environment or the folder is allowed."""
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.Attribute):
            owner, _, method = ast.unparse(node).rpartition(".")
            if owner == "monkeypatch" and method in ("setattr", "setitem", "delattr"):
                yield node.lineno


BANS = (
    Ban(
        "the wall clock",
        "time.monotonic_ns(); a machine's time of day jumps",
        CODE,
        calls(
            "time.time",
            "time.time_ns",
            "datetime.datetime.now",
            "datetime.datetime.utcnow",
            "datetime.now",
            "datetime.utcnow",
            "datetime.date.today",
        ),
        {
            "gateway/cli/reach.py": "holds certificates and an upstream's Date against the clock",
            "gateway/ids.py": "a UUIDv7 begins with the time of day (RFC 9562)",
            "gateway/summary.py": "a line of a log bears the time of day",
            "gateway/times.py": "rows are kept and asked for by the time of day",
            "gateway/clock.py": "Date is the time of day (RFC 9110 section 6.6.1)",
            "plugins/cost/genai.py": "a price holds from a day on, or at some hours of the day",
        },
    ),
    Ban("json", "orjson, which is the one JSON of this house", CODE, module("json")),
    Ban(
        "logging",
        "gateway.log, a structlog logger",
        PRODUCT,
        module("logging"),
        {"gateway/log.py": "brings what libraries log into our stream"},
    ),
    Ban("print", "a log event, or click.echo in a command", PRODUCT, calls("print")),
    Ban(
        "a task that nobody keeps",
        "Gateway.task(), or keep the reference until it is done",
        CODE + TESTS,
        dropped_tasks,
    ),
    Ban("silence about any exception", "a narrower type, or a log event", CODE, silent_excepts),
    Ban("unittest.mock", "gateway.testing and a real socket", TESTS, module("unittest.mock")),
    Ban("a patch of our own code", "an argument, or a real socket", TESTS, patches),
    Ban("a test that may not run", "a test that runs or none", TESTS, skips),
)

# Words that no file may hold, as patterns, with what to do about them.
HOSTS = r"\bpypi\.(?:org|io)\b|pythonhosted\.(?:org|com)|registry\.(?:npmjs|yarnpkg)\b"
WORDS = {
    HOSTS: "name no package index; whoever installs has one configured",
    r"/(?:home|Users)/\w+/": "name no folder of one machine",
    r"(?i)\bissue #?\d": "say the thing itself, a number means nothing to a reader",
    r"(?i)\bTODO\b|\bFIXME\b|\bXXX\b": "do it, or leave it out",
}


def forbidden_words(tree: Tree, words: Mapping[str, str]) -> list[str]:
    complaints = []
    for path, text in tree.texts.items():
        if path == "tests/tidy/test_bans.py":
            continue  # the patterns themselves
        for pattern, remedy in words.items():
            for match in re.finditer(pattern, text):
                line = text.count("\n", 0, match.start()) + 1
                complaints.append(f"{path}:{line}: {match.group()!r}; {remedy}")
    return complaints


def local_paths(root: Path, home: Path) -> dict[str, str]:
    """Give patterns for where this checkout and its owner happen to live; no file may know that."""
    shared = {
        Path("/"),
        *(Path("/") / name for name in ("home", "opt", "srv", "tmp", "usr", "var")),
    }
    places = {root, home, root.parent} - shared
    return {
        rf"(?<![\w./-]){re.escape(str(place))}(?![\w-])": "name no folder of one machine"
        for place in places
    }


def complaints_of_all(tree: Tree) -> list[str]:
    return [line for ban in BANS for line in ban.complaints(tree)]


def test_what_is_banned_is_not_written():
    hold(complaints_of_all(repository()))


def test_no_file_names_an_index_or_a_machine():
    hold(forbidden_words(repository(), WORDS | local_paths(ROOT, Path.home())))


def broken(code: str, path: str = "gateway/bad.py") -> list[str]:
    """Give what the bans say of a few lines, and not that these need no exceptions."""
    said = complaints_of_all(Tree({path: code}))
    return [line.removeprefix(f"{path}:") for line in said if line.startswith(f"{path}:")]


def what(lines: list[str]) -> list[str]:
    return [line.partition(";")[0] for line in lines]


def test_the_ban_on_the_wall_clock_can_fail():
    code = "import time\nfrom time import time_ns as now\nfrom datetime import datetime as d\n"
    code += "time.time()\nnow()\nd.now()\ntime.monotonic()\n"
    assert what(broken(code)) == [f"{line}: the wall clock" for line in (4, 5, 6)]


def test_the_bans_on_modules_can_fail():
    code = (
        "import json\nfrom logging import getLogger\nimport orjson, logging.config\nimport jsonx\n"
    )
    assert what(broken(code)) == ["1: json", "2: logging", "3: logging"]


def test_the_ban_on_print_can_fail():
    assert what(broken("print(1)\nprinted(1)")) == ["1: print"]


def test_a_ban_knows_where_it_does_not_hold():
    assert what(broken("import logging", "gateway/log.py")) == []
    assert what(broken("print(1)", "bench/table.py")) == []


def test_the_ban_on_dropped_tasks_can_fail():
    code = "loop.create_task(a())\nkept = asyncio.create_task(b())\n"
    code += "loop.call_soon(lambda: asyncio.ensure_future(c()))\nkeep(loop.create_task(d()))\n"
    assert what(broken(code)) == [f"{line}: a task that nobody keeps" for line in (1, 3)]


def test_the_ban_on_silence_can_fail():
    code = "try:\n    x()\nexcept (OSError, Exception):\n    pass\n"
    code += "try:\n    x()\nexcept:\n    ...\ntry:\n    x()\nexcept OSError:\n    pass\n"
    code += "with contextlib.suppress(BaseException):\n    x()\n"
    code += "try:\n    x()\nexcept Exception:\n    log()\n"
    assert what(broken(code)) == [f"{line}: silence about any exception" for line in (3, 7, 13)]


def test_the_bans_on_false_tests_can_fail():
    code = (
        "from unittest import mock\nmonkeypatch.setattr(a, 'b', c)\nmonkeypatch.setenv('A', 'b')\n"
    )
    code += "@pytest.mark.skipif(x)\ndef test_a(): pytest.skip('later')\n"
    assert what(broken(code, "tests/test_bad.py")) == [
        "1: unittest.mock",
        "2: a patch of our own code",
        "4: a test that may not run",
        "5: a test that may not run",
    ]


def test_an_exception_that_is_not_needed_fails():
    assert Ban("json", "orjson", CODE, module("json"), {"bench/": "old"}).complaints(Tree({})) == [
        "bench/: no longer needs to be allowed json"
    ]


def test_the_ban_on_words_can_fail():
    texts = {
        "requirements.lock": "--index-url https://pypi.org/simple",
        "README.md": "see issue 7\nin /home/me/weir\ncp /srv/weir-2 /srv/weir/x /root\n",
        "gateway/line.py": "# TODO: later",
    }
    words = WORDS | local_paths(Path("/srv/weir"), Path("/root"))
    found = {line.partition(";")[0] for line in forbidden_words(Tree(texts), words)}
    assert found == {
        "README.md:1: 'issue 7'",
        "README.md:2: '/home/me/'",
        "README.md:3: '/srv/weir'",
        "README.md:3: '/root'",
        "gateway/line.py:1: 'TODO'",
        "requirements.lock:1: 'pypi.org'",
    }
