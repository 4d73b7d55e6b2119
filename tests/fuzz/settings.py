"""Parsers of what an operator writes: the file, the variables, units, keys, proxies."""

from __future__ import annotations

import base64
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from gateway.convert import ConfigErrors
from gateway.places import KeyPath, find_places
from gateway.providers import build
from gateway.proxies import Exceptions, Proxies, ProxyUrl, parse
from gateway.rows import Credential
from gateway.secret import FILE, MASK, resolve, scrub
from gateway.settings import examine
from gateway.units import parse_duration, parse_size

STATE = Path("/state")
ENVIRON = {"A_KEY": "sk-of-the-environment", "A_PROXY": "http://u:p@proxy.example:3128"}


def config(data: bytes) -> None:
    """A file is a configuration, or every problem says where in the file it is."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        lines = data.count(b"\n") + 1
        try:
            loaded, errors = examine(file.name, ENVIRON)
        except ConfigErrors as unreadable:
            assert_placed(unreadable, file.name, lines)
            return
        assert_placed(errors, file.name, lines)
        if loaded is None:
            assert errors.problems
            return
        assert all(place.startswith(("default", "file ")) for place in loaded.provenance.values())
        try:
            build(loaded.config, STATE, ENVIRON)
        except ConfigErrors as late:
            assert_placed(loaded.placed(late), file.name, lines)
    text = data.decode("utf-8-sig")
    places = find_places(text)
    for path in keys_in(tomllib.loads(text)):
        assert 1 <= places[path] <= lines, path


def assert_placed(errors: ConfigErrors, file: str, lines: int) -> None:
    """See that each problem has its line, and stands on one of its own."""
    for problem in errors.problems:
        name, _, line = problem.place.rpartition(":")
        assert name == file, str(problem)
        assert 1 <= int(line) <= lines
        assert problem.text
        assert "\n" not in str(problem)


def keys_in(table: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Give the path of everything in a table."""
    if path:
        yield path
    if isinstance(table, Mapping):
        for key, inner in table.items():
            yield from keys_in(inner, (*path, key))
    elif isinstance(table, list):
        for index, inner in enumerate(table):
            yield from keys_in(inner, (*path, index))


def variables(data: bytes) -> None:
    """A variable is a part of the configuration, or is named as what is wrong.

    Lines: NAME=VALUE.
    """
    pairs = (line.partition("=") for line in data.decode("utf-8", "surrogateescape").split("\n"))
    environ = {name: value for name, _, value in pairs if name and "\0" not in name + value}
    environ.pop("WEIR_CONFIG", None)
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        loaded, errors = examine(file.name, environ)
    for problem in errors.problems:
        assert problem.place in environ
        assert problem.text
    if loaded is not None:
        for path, place in loaded.provenance.items():
            assert place == "default" or place.removeprefix("env ") in environ, path


def units(data: bytes) -> None:
    """What is read as a duration or a size reads the same as it is written back."""
    text = data.decode("utf-8", "replace")
    for value in (text, tomllib_value(text)):
        for parse_one in (parse_duration, parse_size):
            try:
                count = parse_one(value)
            except ValueError:
                continue
            assert count >= 0
            assert parse_one(str(count)) == count


def tomllib_value(text: str) -> object:
    try:
        return float(text) if "." in text else int(text[:30])
    except ValueError:
        return None


def key(data: bytes) -> None:
    """A key can stand in a field, or is missing with a reason; and a log shows none of it.

    Lines: what the configuration says, the variable's value, how the key is sent.
    """
    text, value, written = (*data.decode("utf-8", "surrogateescape").split("\n"), "", "")[:3]
    if text.startswith(FILE):
        return  # whatever file that may be
    secret = resolve(text, {"A_KEY": value})
    if secret.missing:
        assert secret.why_missing
        return
    held = secret.reveal()
    assert held == held.strip()
    assert not re.search(rb"[\0-\x1f\x7f]", held)
    if len(held) >= 8 and held not in MASK.encode():
        assert held not in scrub(b"it is <%b>" % held)
    assert secret.reference or repr(secret) == f"Secret({MASK})"
    try:
        credential = Credential(written)
    except (ValueError, UnicodeEncodeError):
        return
    name, field = credential.field(secret)
    assert re.fullmatch(rb"[^\r\n\0: \t]+", name)
    assert not re.search(rb"[\r\n\0]", field)
    assert held in field


def why_not(url: str) -> str:
    """Say why a URL is none of a proxy; nothing if it is one."""
    try:
        parse(url)
    except ValueError as error:
        return str(error)
    return ""


# A password with an unescaped sign in it may end up anywhere in a URL, so nothing is quoted: these
# are all that is ever said.
REASONS = {why_not(url) for url in ("", "https://a", "http://a%3ab:c@d")}


def proxy(data: bytes) -> None:
    """A proxy's URL is one, or what is said of it holds nothing of it.

    Lines: the URL, and what NO_PROXY says.
    """
    url, exceptions = (*data.decode("utf-8", "replace").split("\n"), "")[:2]
    if why_not(url):
        assert why_not(url) in REASONS
        return
    found = parse(url)
    assert found.host
    assert 0 < found.port < 65536
    if found.authorization is not None:
        user, colon, password = base64.b64decode(found.authorization.reveal()[6:]).partition(b":")
        assert colon
        assert b":" not in user
        assert len(password) < 8 or password.decode("latin-1") not in found.key
        assert MASK in repr(ProxyUrl(url, {}))
    try:
        covered = Exceptions(exceptions)
    except ValueError:
        return
    way = Proxies({"https": found}, covered).of("https", "api.example", 443)
    assert way is (None if covered.cover("api.example", 443) else found)
