"""`weir hooks`, and the tables of hooks and plugins in README, which are made from the code.

A hook's row is its declaration in `gateway.hooks`: the signature, the colour, and the docstring,
whose last clause says what happens when an implementation raises.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Final, NamedTuple

import click

from gateway import hooks
from gateway.cli.registry import bundled
from gateway.cli.text import aligned, json_option, markdown, say, say_json
from gateway.errors import StartError
from gateway.schema import Key, keys

END: Final = "<!-- end -->"
_FAULT: Final = re.compile(r"[;.] (?:on )?(?:A|a) fault (?P<text>[^.;]+)\.$")
# Where hooks run before there is a line, whatever they raise stops the start.
_STOPS_THE_START: Final = "stops the start"


class Row(NamedTuple):
    """One hook, as the table shows it."""

    name: str
    signature: str
    colour: str
    when: str
    fault: str


def rows() -> list[Row]:
    """Every hook in the order of the line."""
    return [_row(name) for name in hooks.NAMES]


def refreshed(readme: str) -> str:
    """README's text with each generated table made anew."""
    for name, table in (("hooks", hooks_table()), ("plugins", plugins_table())):
        start = f"<!-- generated: {name} -->\n"
        before, has_start, rest = readme.partition(start)
        _, has_end, after = rest.partition(END)
        if not (has_start and has_end):
            raise StartError(f"no {start.strip()} ... {END} in it")
        readme = f"{before}{start}{table}\n{END}{after}"
    return readme


def hooks_table() -> str:
    head = ("hook", "colour", "when, and what its result means", "if it raises")
    return markdown(head, [(f"`{r.signature}`", r.colour, r.when, r.fault) for r in rows()])


def plugins_table() -> str:
    head = ("plugin", "what it does", "hooks", "config keys and defaults")
    body = []
    for plugin in bundled():
        table = [f"`{_written(key)}`" for key in keys(plugin.config_type)]
        names = [f"`{name}`" for name in plugin.hooks]
        body.append(
            (f"`{plugin.name}`", plugin.summary, ", ".join(names), ", ".join(table) or "none")
        )
    return markdown(head, body)


def _written(key: Key) -> str:
    return f"{key.name} = {key.default}" if key.default else key.name


@click.command("hooks")
@json_option
@click.option("--write", is_flag=True, help="Refresh the generated tables of README.md.")
@click.option("--readme", default="README.md", metavar="FILE", help="The file for --write.")
def command(as_json: bool, write: bool, readme: str) -> None:
    """List the hooks that a plugin may implement."""
    if write:
        _write(Path(readme))
    elif as_json:
        say_json([row._asdict() for row in rows()])
    else:
        for row in rows():
            say(row.signature)
            for line in aligned(
                [("colour", row.colour), ("when", row.when), ("raises", row.fault)]
            ):
                say(f"  {line}")


def _row(name: str) -> Row:
    hook = getattr(hooks, name)
    text = " ".join((hook.__doc__ or "").split())
    found = _FAULT.search(text)
    when = text if found is None else text[: found.start()] + "."
    fault = _STOPS_THE_START if found is None else found["text"]
    signature = f"{name}({', '.join(inspect.signature(hook).parameters)})"
    return Row(
        name, signature, _colour(name, is_async=inspect.iscoroutinefunction(hook)), when, fault
    )


def _colour(name: str, *, is_async: bool) -> str:
    if name == "lifespan":
        return "async context manager"
    return ("async or sync" if is_async else "sync") + (
        ", reverse order" if name in hooks.REVERSED else ""
    )


def _write(path: Path) -> None:
    try:
        before = path.read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from None
    try:
        after = refreshed(before)
    except StartError as error:
        raise click.UsageError(f"{path}: {error}") from None
    if after != before:
        path.write_text(after, encoding="utf-8")
    say(f"{path}: {'written' if after != before else 'up to date'}")
