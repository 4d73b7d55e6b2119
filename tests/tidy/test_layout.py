"""Each file has its place: a test for each module, a module for each test, nothing unused."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatch
from pathlib import PurePosixPath

from tests.tidy.source import Tree, hold, imports, module_name, repository

TOP = {
    ".ci": "the one command of continuous integration",
    ".gitignore": "what the commands leave behind",
    "LICENSE": "the terms",
    "Makefile": "the commands",
    "README.md": "what it is and how to use it",
    "bench": "what it costs",
    "config.toml": "every key with its default",
    "deploy": "how it is built to run elsewhere",
    "docs": "what is too long for the README",
    "gateway": "the core",
    "plugins": "the features",
    "pyproject.toml": "the package and the strictness of its tools",
    "requirements.lock": "what is installed, by hash",
    "tests": "the tests",
}

# Modules whose test does not bear their name; an entry that is no longer needed fails.
TESTED_ELSEWHERE: dict[str, str] = {
    "gateway/__init__.py": "the door only names what others define; test_imports holds its list",
    "gateway/__main__.py": "two lines, run by every whole test that starts a process",
}

# Names that say nothing about what is inside.
EMPTY_NAMES = {
    "base",
    "common",
    "data",
    "helper",
    "helpers",
    "info",
    "manager",
    "misc",
    "util",
    "utils",
}
# What `gateway.stores` finds in a plugin by name.
STORES = ("postgres.py", "sqlite.py")


def unexpected_top(tree: Tree) -> list[str]:
    found = {path.partition("/")[0] for path in tree.texts}
    return [f"{name}: not a name for the top level" for name in sorted(found - TOP.keys())]


def mirror(path: str) -> str:
    """Give the path of a module's test: that of a package is named for its folder."""
    pure = PurePosixPath(path)
    if pure.name == "__init__.py":
        pure = pure.parent
    return f"tests/{pure.parent}/test_{pure.stem}.py"


def mirrors(path: str) -> list[str]:
    """Give where a module may be tested: a part of a plugin may be tested with the whole."""
    package, plugin, *parts = path.split("/")
    own = [mirror(path)]
    return [*own, mirror(f"{package}/{plugin}.py")] if package == "plugins" and parts else own


def untested(tree: Tree, elsewhere: dict[str, str]) -> list[str]:
    complaints = []
    for path in tree.under("gateway", "plugins"):
        if is_empty(tree, path):
            continue
        if any(test in tree.texts for test in mirrors(path)):
            if path in elsewhere:
                complaints.append(f"{path}: has its test, take it out of TESTED_ELSEWHERE")
        elif path not in elsewhere:
            complaints.append(f"{path}: has no test, write {mirror(path)}")
    gone = sorted(elsewhere.keys() - tree.texts.keys())
    return complaints + [f"{path}: is gone, take it out of TESTED_ELSEWHERE" for path in gone]


def is_empty(tree: Tree, path: str) -> bool:
    """Whether a file holds nothing but a docstring, as the mark of a package does."""
    return all(isinstance(node, ast.Expr) for node in tree.parsed(path).body)


def stray_tests(tree: Tree) -> list[str]:
    known = {mirror(path) for path in tree.under("gateway", "plugins", "bench")}
    return [
        f"{path}: tests no module of that name"
        for path in tree.under("tests/gateway", "tests/plugins", "tests/bench")
        if PurePosixPath(path).name.startswith("test_") and path not in known
    ]


def orphans(tree: Tree) -> list[str]:
    """List modules that nothing imports: no code of ours, no entry point, no name in a table."""
    modules = tree.modules("gateway", "plugins", "bench", "tests")
    used = set(entries(tree))
    for path in modules.values():
        for one in imports(tree, path, for_types=True):
            target = one.within(modules)
            # A module that only its own test imports serves nobody.
            if target is not None and path not in (modules[target], mirror(modules[target])):
                used.add(target)
    words = _words(tree)
    return [
        f"{path}: nothing uses it"
        for name, path in modules.items()
        if name not in used and not is_empty(tree, path) and not _named(name, path, words)
    ]


def entries(tree: Tree) -> list[str]:
    """List the modules that are started or found from outside."""
    scripts = tree.toml("pyproject.toml")["project"].get("scripts", {})
    started = [script.partition(":")[0] for script in scripts.values()]
    for path in tree.texts:
        file = PurePosixPath(path)
        is_started = file.name in ("__main__.py", "conftest.py") or file.name.startswith("test_")
        is_plugin = path.startswith("plugins/") and (
            file.parent.name == "plugins"
            or file.name == "__init__.py"
            or file.name.startswith("command_")
            or file.name in STORES
        )
        if file.suffix == ".py" and (is_started or is_plugin):
            started.append(module_name(path))
    return started


def _words(tree: Tree) -> dict[str, set[str]]:
    """Collect the words that may name a module to load later, by the folder they stand in."""
    words: dict[str, set[str]] = {}
    for path in tree.under("gateway", "plugins", "bench", "tests"):
        for node in ast.walk(tree.parsed(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                folder = str(PurePosixPath(path).parent)
                words.setdefault(folder, set()).update(re.findall(r"[\w.]+", node.value))
    return words


def _named(name: str, path: str, words: dict[str, set[str]]) -> bool:
    folder = str(PurePosixPath(path).parent)
    if any(name in group for group in words.values()):
        return True
    return folder.count("/") > 0 and name.rpartition(".")[2] in words.get(folder, set())


def empty_names(tree: Tree) -> list[str]:
    return [
        f"{path}: name it for what it holds"
        for path in tree.under("gateway", "plugins", "bench", "tests")
        if PurePosixPath(path).stem in EMPTY_NAMES
    ]


def unshipped(tree: Tree) -> list[str]:
    """List files of the packages that an installation would lack."""
    shipped = tree.toml("pyproject.toml")["tool"]["setuptools"]["package-data"]
    complaints = []
    for path in tree.under("gateway", "plugins", suffix=""):
        package, _, rest = path.partition("/")
        if not path.endswith(".py") and not any(
            fnmatch(rest, pattern) for pattern in shipped.get(package, [])
        ):
            complaints.append(f"{path}: not in package-data of pyproject.toml")
    return complaints


def test_the_top_level_holds_only_what_is_listed():
    hold(unexpected_top(repository()))


def test_each_module_has_its_test():
    hold(untested(repository(), TESTED_ELSEWHERE))


def test_each_test_has_its_module():
    hold(stray_tests(repository()))


def test_nothing_is_an_orphan():
    hold(orphans(repository()))


def test_each_file_of_the_packages_is_shipped():
    hold(unshipped(repository()))


def test_each_name_says_what_is_inside():
    hold(empty_names(repository()))


def test_the_rule_on_the_top_level_can_fail():
    tree = Tree({"gateway/line.py": "", "scratch.py": "", "notes/plan.md": ""})
    assert [line.partition(":")[0] for line in unexpected_top(tree)] == ["notes", "scratch.py"]


def test_the_rule_on_tests_can_fail():
    tree = Tree(
        {
            "gateway/line.py": "x = 1",
            "gateway/dialects/__init__.py": "x = 1",
            "gateway/dialects/openai.py": "x = 1",
            "gateway/cli/__init__.py": '"""A mark."""',
            "plugins/cache/__init__.py": "x = 1",
            "plugins/cache/store.py": "x = 1",
            "plugins/timing.py": "x = 1",
            "tests/gateway/test_dialects.py": "",
            "tests/plugins/test_cache.py": "",
            "tests/plugins/test_gone.py": "",
        }
    )
    assert untested(tree, {}) == [
        "gateway/dialects/openai.py: has no test, write tests/gateway/dialects/test_openai.py",
        "gateway/line.py: has no test, write tests/gateway/test_line.py",
        "plugins/timing.py: has no test, write tests/plugins/test_timing.py",
    ]
    assert stray_tests(tree) == ["tests/plugins/test_gone.py: tests no module of that name"]


def test_an_exception_that_is_not_needed_fails():
    tree = Tree({"gateway/line.py": "x = 1", "tests/gateway/test_line.py": ""})
    assert untested(tree, {"gateway/line.py": "", "gateway/old.py": ""}) == [
        "gateway/line.py: has its test, take it out of TESTED_ELSEWHERE",
        "gateway/old.py: is gone, take it out of TESTED_ELSEWHERE",
    ]


def test_the_rule_on_orphans_can_fail():
    tree = Tree(
        {
            "pyproject.toml": '[project.scripts]\nweir = "gateway.cli:main"\n',
            "gateway/cli/__init__.py": "from gateway import line\nLATER = ['run']",
            "gateway/cli/run.py": "x = 1",
            "gateway/line.py": "x = 1",
            "gateway/lost.py": "import gateway.lost",
            "plugins/timing.py": "x = 1",
            "tests/gateway/test_lost.py": "import gateway.lost",
            "tests/whole/scripts.py": "x = 1",
        }
    )
    assert orphans(tree) == [
        "gateway/lost.py: nothing uses it",
        "tests/whole/scripts.py: nothing uses it",
    ]


def test_the_rule_on_names_can_fail():
    tree = Tree({"gateway/utils.py": "", "gateway/splice.py": ""})
    assert empty_names(tree) == ["gateway/utils.py: name it for what it holds"]


def test_the_rule_on_shipping_can_fail():
    project = '[tool.setuptools.package-data]\ngateway = ["*.toml"]\n'
    tree = Tree({"pyproject.toml": project, "gateway/a.toml": "", "plugins/b.html": ""})
    assert unshipped(tree) == ["plugins/b.html: not in package-data of pyproject.toml"]
