"""The README and config.toml say what the code does: hooks, plugins, keys, defaults, examples."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

import plugins
from gateway import hooks
from gateway.config import Admin, Config, GatewayConfig, Limits, Log, ProviderConfig, Server
from gateway.convert import convert_table
from gateway.schema import meanings
from tests.tidy.source import ROOT, Tree, hold, repository

# Whole tables; their keys are looked for in the tables themselves.
TABLES = ("server", "admin", "limits", "log", "providers", "plugins", "gateways")
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "": Config,
    "server": Server,
    "admin": Admin,
    "limits": Limits,
    "log": Log,
    "providers.*": ProviderConfig,
    "gateways.*": GatewayConfig,
}
PLUGIN_LINES_MAX = 20

_SECTION = re.compile(r"^(?:# ?)?\[([\w.-]+)\]\s*(?:#.*)?$")
_KEY = re.compile(r"^(?:# ?)?([\w-]+) = (.+)$")


class Key:
    """A key as config.toml shows it, perhaps commented out: its value and the words about it."""

    def __init__(self, section: str, name: str, value: Any, meaning: str) -> None:
        self.section = section
        self.name = name
        self.value = value
        self.meaning = meaning


def keys(text: str) -> Iterator[Key]:
    section = ""
    above: list[str] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        head, key = _SECTION.match(line), _KEY.match(line)
        if head is not None:
            section = head[1]
        elif key is not None:
            value, comment = _value(key[2], lines[number + 1 :])
            if value is not None:
                yield Key(section, key[1], value, comment or " ".join(above))
        is_comment = line.startswith("# ") and key is None and head is None
        above = [*above, line.removeprefix("# ")] if is_comment else []


def _value(first: str, rest: list[str]) -> tuple[Any, str]:
    """Read a value that may go on over the next lines, and the comment that ends its first line."""
    for count in range(min(len(rest), 20) + 1):
        lines = [first, *(line.removeprefix("#") for line in rest[:count])]
        try:
            value = tomllib.loads("v = " + "\n".join(lines))["v"]
        except tomllib.TOMLDecodeError:
            continue
        comment = re.search(r"\s#\s*([^\"'\]]+)$", first)
        return value, comment[1] if comment else ""
    return None, ""


def undocumented(text: str, sections: Mapping[str, type[msgspec.Struct]]) -> list[str]:
    """List the keys that config.toml lacks, shows with another default, or says nothing about."""
    shown = list(keys(text))
    heads = [head[1] for head in map(_SECTION.match, text.splitlines()) if head is not None]
    complaints = []
    for pattern, struct in sections.items():
        for field in msgspec.structs.fields(struct):
            if not pattern and field.encode_name in TABLES:
                continue
            if any(_is_under(head, pattern, field.encode_name) for head in heads):
                continue
            found = [key for key in shown if _is(key, pattern, field.encode_name)]
            where = f"[{pattern}] {field.encode_name}"
            complaints += [f"{where}: {fault}" for fault in _faults(found, pattern, struct, field)]
    return complaints


def _is(key: Key, pattern: str, name: str) -> bool:
    matched = re.fullmatch(re.escape(pattern).replace(r"\*", r"[\w-]+"), key.section)
    return matched is not None and key.name == name


def _is_under(head: str, pattern: str, name: str) -> bool:
    start = re.escape(f"{pattern}.{name}.").replace(r"\*", r"[\w-]+")
    return re.match(start, f"{head}.") is not None


def _faults(
    found: list[Key], pattern: str, struct: type[msgspec.Struct], field: Any
) -> Iterator[str]:
    if not found:
        yield "is not in config.toml"
        return
    meaning = meanings(struct).get(field.name, "")
    if meaning not in [key.meaning for key in found]:
        yield f"its docstring says {meaning!r}, config.toml {found[0].meaning!r}"
    if pattern.startswith("gateways") or field.default is None:
        return  # an example is all that can be shown
    default = field.default
    if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    given = [_converted(struct, key) for key in found]
    if default not in given and default is not msgspec.NODEFAULT:
        yield f"the default is {default!s}, shown is {', '.join(map(str, given))}"


def _converted(struct: type[msgspec.Struct], key: Key) -> Any:
    value, problems = convert_table(struct, {key.name: key.value}, where=key.section or "top")
    return problems if value is None else getattr(value, key.name)


def unknown(text: str, sections: Mapping[str, type[msgspec.Struct]]) -> list[str]:
    """List the keys that config.toml shows and the code does not know."""
    complaints = []
    for key in keys(text):
        names = [
            field.encode_name
            for pattern, struct in sections.items()
            for field in msgspec.structs.fields(struct)
            if _is(key, pattern, field.encode_name)
        ]
        if not names and not re.match(r"gateways\.[\w-]+\.plugins\.", key.section):
            complaints.append(f"[{key.section}] {key.name}: there is no such key")
    return complaints


def bundled() -> list[str]:
    return [found.name for found in pkgutil.iter_modules(plugins.__path__)]


def sections() -> dict[str, type[msgspec.Struct]]:
    found = dict(SECTIONS)
    for name in bundled():
        config = getattr(importlib.import_module(f"plugins.{name}"), "Config", None)
        if config is not None:
            found[f"plugins.{name}"] = config
            for field in msgspec.structs.fields(config):
                if inspect.isclass(field.type) and issubclass(field.type, msgspec.Struct):
                    found[f"plugins.{name}.{field.encode_name}"] = field.type
    return found


def signature(name: str) -> str:
    return f"{name}({', '.join(inspect.signature(getattr(hooks, name)).parameters)})"


def unlisted(readme: str, wanted: Mapping[str, str]) -> list[str]:
    """List what no row of a table in the README begins with."""
    rows = [line for line in readme.splitlines() if line.startswith("|")]
    return [
        f"README.md: no row of a table begins with `{words}`, which is {what}"
        for words, what in wanted.items()
        if not any(row.startswith(f"| `{words}`") for row in rows)
    ]


def lost_tests(tree: Tree) -> list[str]:
    """List the tests that the README names and that do not exist."""
    complaints = []
    written = files(tree.texts["README.md"])
    for path, name in re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", tree.texts["README.md"]):
        text = tree.texts.get(path)
        if text is None and path not in written:
            complaints.append(f"README.md: there is no {path}")
        elif text is not None and name and f"def {name}(" not in text:
            complaints.append(f"README.md: {path} has no {name}")
    return complaints


def files(readme: str) -> dict[str, str]:
    """Give the files that the README writes, by path; the line before each names it."""
    found = {}
    fence = re.compile(r"^```(?:python|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    for snippet in fence.finditer(readme):
        before = readme[: snippet.start()].rstrip().rpartition("\n")[2]
        names = re.findall(r"`((?:tests/)?plugins/\w+\.py|config\.toml)`", before)
        if names:
            found[names[-1]] = snippet[1]
    return found


def house(folder: Path, text: str) -> str:
    """Lay a copy of the house with the README's plugin in it, and give the plugin's name."""
    for name in ("gateway", "plugins"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for path, content in files(text).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    (plugin,) = [path for path in files(text) if path.startswith("plugins/")]
    return Path(plugin).stem


def refreshed(readme: str, folder: Path) -> str:
    """Give the README after its tables were generated anew."""
    (folder / "README.md").write_text(readme, encoding="utf-8")
    command = [sys.executable, "-m", "gateway", "hooks", "--write"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=30)
    return (folder / "README.md").read_text(encoding="utf-8")


def run_there(folder: Path, *command: str) -> None:
    """Run a module in that folder's own copy of the house; it must not fail."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        check=False,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(folder), "WEIR_STATE_DIR": str(folder / "state")},
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def readme() -> str:
    return repository().texts["README.md"]


def test_config_toml_holds_each_key_with_its_default_and_meaning():
    hold(undocumented(repository().texts["config.toml"], sections()))


def test_config_toml_holds_no_key_that_does_not_exist():
    hold(unknown(repository().texts["config.toml"], sections()))


def test_the_schema_of_config_toml_is_what_the_code_generates():
    text = repository().texts["config.toml"]
    named = re.match(r"#:schema \./([\w./]+)\n", text)
    assert named is not None
    command = [sys.executable, "-m", "gateway", "config", "schema"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=30)
    assert json.loads(done.stdout) == json.loads(repository().texts[named[1]])


def test_the_readme_lists_each_hook_with_its_signature():
    hold(unlisted(readme(), {signature(name): "a hook" for name in hooks.NAMES}))


def test_the_readme_lists_each_plugin():
    hold(unlisted(readme(), dict.fromkeys(bundled(), "a plugin")))


def test_the_readme_names_only_tests_that_exist():
    hold(lost_tests(repository()))


def test_each_hook_is_named_by_a_test():
    texts = [
        repository().texts[path] for path in repository().under("tests/gateway", "tests/whole")
    ]
    names = re.findall(r"def (test_\w+)", "\n".join(texts))
    hold([f"{hook}: no test bears its name" for hook in hooks.NAMES if not _within(hook, names)])


def _within(word: str, names: list[str]) -> bool:
    return any(re.search(rf"(?:^|_){word}s?(?:_|$)", name) for name in names)


def test_the_readmes_tables_are_what_the_code_generates(tmp_path):
    assert refreshed(readme(), tmp_path) == readme()


def test_the_readmes_plugin_has_at_most_20_lines():
    (plugin,) = [text for path, text in files(readme()).items() if path.startswith("plugins/")]
    assert len(plugin.splitlines()) <= PLUGIN_LINES_MAX


def test_the_readmes_plugin_passes_its_test(tmp_path):
    name = house(tmp_path, readme())
    test = f"tests/plugins/test_{name}.py"
    run_there(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", test)


def test_the_readmes_plugin_can_be_enabled(tmp_path):
    name = house(tmp_path, readme())
    assert name in tomllib.loads(files(readme())["config.toml"])["enabled"]
    run_there(tmp_path, "gateway", "check", "--config", "config.toml")


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table.

    size_max: How much.
    names: Who,
        and in what order.
    key: What it opens.
    """

    size_max: int = 5
    names: tuple[str, ...] = ("a", "b")
    key: str | None = None
    wait: int = 1


def test_the_rule_on_config_toml_can_fail():
    text = '[plugins.sample]\nsize_max = 6  # How much.\n# Who.\nnames = [\n  "a",\n  "b",\n]\n'
    text += "# What it\n# opens.\n#key = 'x'\nother = 1\n"
    struct: dict[str, type[msgspec.Struct]] = {"plugins.sample": Sample}
    assert undocumented(text, struct) == [
        "[plugins.sample] size_max: the default is 5, shown is 6",
        "[plugins.sample] names: its docstring says 'Who, and in what order.', config.toml 'Who.'",
        "[plugins.sample] wait: is not in config.toml",
    ]
    assert unknown(text, struct) == ["[plugins.sample] other: there is no such key"]


def test_the_rule_on_the_readmes_tables_can_fail(tmp_path):
    assert unlisted("| `tap(exchange)` | x |", {"tap(exchange, side)": "a hook"}) != []
    spoilt = readme().replace("| `tap(exchange, side)` |", "| `tap(exchange)` |")
    assert spoilt != readme()
    assert refreshed(spoilt, tmp_path) == readme()


def test_the_rule_on_named_tests_can_fail():
    tree = Tree(
        {
            "README.md": "tests/a.py, tests/b.py::test_one and tests/b.py::test_two",
            "tests/b.py": "def test_one(): ...",
        }
    )
    assert lost_tests(tree) == [
        "README.md: there is no tests/a.py",
        "README.md: tests/b.py has no test_two",
    ]


def test_a_name_of_a_hook_is_found_as_a_whole_word():
    assert _within("tap", ["test_a_tap_sees_bytes"])
    assert not _within("tap", ["test_a_tape"])
