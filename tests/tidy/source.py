"""The source tree as the rules see it: texts by path, and their syntax trees.

Every rule is a function from a `Tree` to a list of complaints. So it runs over the repository, and
in its own test over a few lines that break it.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Tree:
    """Texts by path from the root, in posix form: `{"gateway/line.py": "..."}`."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = dict(sorted(texts.items()))
        self._parsed: dict[str, ast.Module] = {}

    def under(self, *folders: str, suffix: str = ".py") -> Iterator[str]:
        """Give the paths of these folders that end so."""
        for path in self.texts:
            if path.endswith(suffix) and path.startswith(tuple(f"{name}/" for name in folders)):
                yield path

    def parsed(self, path: str) -> ast.Module:
        if path not in self._parsed:
            self._parsed[path] = ast.parse(self.texts[path], path)
        return self._parsed[path]

    def modules(self, *folders: str) -> dict[str, str]:
        """Give the paths by dotted module name; a package stands under its own name."""
        return {module_name(path): path for path in self.under(*folders)}

    def toml(self, path: str) -> dict[str, Any]:
        return tomllib.loads(self.texts[path])


def hold(complaints: list[str]) -> None:
    """Fail with all of them, one a line."""
    __tracebackhide__ = True
    assert not complaints, "\n" + "\n".join(complaints)


def module_name(path: str) -> str:
    name = path.removesuffix(".py").replace("/", ".")
    return name.removesuffix(".__init__")


@cache
def repository() -> Tree:
    """Read the repository: every text file that .gitignore does not exclude."""
    texts = {}
    for path in _walk(ROOT, _ignored((ROOT / ".gitignore").read_text().splitlines())):
        try:
            texts[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
    return Tree(texts)


def _ignored(lines: Iterable[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")] + [".git"]


def _walk(folder: Path, ignored: list[str]) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if is_ignored(path.relative_to(ROOT).as_posix(), ignored):
            continue
        if path.is_dir():
            yield from _walk(path, ignored)
        elif path.is_file():
            yield path


def is_ignored(path: str, patterns: Iterable[str]) -> bool:
    """Whether .gitignore's simple patterns (a name, or a path from the root) exclude this."""
    for pattern in patterns:
        bare = pattern.rstrip("/")
        if bare.startswith("/"):
            if fnmatch(path, bare.removeprefix("/")):
                return True
        elif fnmatch(PurePosixPath(path).name, bare):
            return True
    return False


def typing_only(tree: ast.Module) -> set[ast.AST]:
    """Give the nodes inside `if TYPE_CHECKING:`; they do not exist at run time."""
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for statement in node.body:
                inside.update(ast.walk(statement))
    return inside


class Import:
    """One imported name: `from gateway import Reply` is module "gateway", name "Reply"."""

    def __init__(self, module: str, name: str | None, line: int) -> None:
        self.module = module
        self.name = name
        self.line = line

    def within(self, modules: Mapping[str, str]) -> str | None:
        """Give the module of ours that this loads, or None if it is none of ours."""
        if self.name is not None and f"{self.module}.{self.name}" in modules:
            return f"{self.module}.{self.name}"
        return self.module if self.module in modules else None


def imports(tree: Tree, path: str, *, for_types: bool = False) -> Iterator[Import]:
    """Give what a file imports, wherever in the file it does so; for types only if asked."""
    parsed = tree.parsed(path)
    hidden = set() if for_types else typing_only(parsed)
    package = module_name(path)
    if not path.endswith("__init__.py"):
        package = package.rpartition(".")[0]
    for node in ast.walk(parsed):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, None, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(package, node.level, node.module)
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)


def _absolute(package: str, level: int, module: str | None) -> str:
    if level == 0:
        return module or ""
    parts = package.split(".")
    kept = parts[: len(parts) - level + 1]
    return ".".join([*kept, module] if module else kept)
