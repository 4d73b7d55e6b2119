"""The commands that plugins bring, found without importing any of them (see `gateway.command`)."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import click

GROUP: Final = "weir.commands"
_BUNDLED: Final = "plugins"
_PREFIX: Final = "command_"


def words() -> dict[str, str]:
    """What plugins bring: each word, and the module that knows it."""
    found = {
        point.name: point.value.partition(":")[0]
        for point in importlib.metadata.entry_points(group=GROUP)
    }
    for path in _files():
        word = path.stem.removeprefix(_PREFIX).replace("_", "-")
        found[word] = f"{_BUNDLED}.{path.parent.name}.{path.stem}"
    return dict(sorted(found.items()))


def helps() -> dict[str, str]:
    """The same words, and what each is for."""
    said = dict.fromkeys(words(), "Of an installed plugin.")
    for path in _files():
        text = ast.get_docstring(ast.parse(path.read_bytes())) or ""
        said[path.stem.removeprefix(_PREFIX).replace("_", "-")] = text.partition("\n")[0]
    return said


def load(word: str) -> click.Command | None:
    """The command of a word, or None."""
    module = words().get(word)
    if module is None:
        return None
    command: click.Command = importlib.import_module(module).command
    return command


def _files() -> list[Path]:
    spec = importlib.util.find_spec(_BUNDLED)
    if spec is None or spec.submodule_search_locations is None:
        return []
    roots = [Path(root) for root in spec.submodule_search_locations]
    return sorted(path for root in roots for path in root.glob(f"*/{_PREFIX}*.py"))
