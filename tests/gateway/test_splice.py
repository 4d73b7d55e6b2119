from __future__ import annotations

import time

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.splice import DEPTH_MAX, Path, get_span, member_names, remove, set_value

# -- documents as people and programs write them ------------------------------------------------

KEYS = ["a", "b", "model", "é", 'q"', "\\", "\n"]
scalars = st.sampled_from(
    [
        *("null", "true", "false", "0", "-1", "1.10", "1e5", "123456789012345678901234567890"),
        *('""', r'"\u00e9\\\"\/"', '"é{[,:]}"', '"1.10"'),
    ]
)
spaces = st.sampled_from(["", "", "", " ", "\n\t", "\r\n "])


@st.composite
def keys(draw: st.DrawFn) -> str:
    """A name, as it is or with its first character escaped by number."""
    key = draw(st.sampled_from(KEYS))
    if draw(st.booleans()):
        return orjson.dumps(key).decode()
    return f'"\\u{ord(key[0]):04x}' + orjson.dumps(key[1:]).decode()[1:]


def containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.tuples(spaces, keys(), spaces, spaces, inner, spaces).map(
        lambda part: f"{part[0]}{part[1]}{part[2]}:{part[3]}{part[4]}{part[5]}"
    )
    elements = st.tuples(spaces, inner, spaces).map("".join)
    return st.one_of(
        st.lists(members, max_size=4).map(lambda parts: "{" + ",".join(parts) + "}"),
        st.lists(elements, max_size=4).map(lambda parts: "[" + ",".join(parts) + "]"),
        spaces.map(lambda space: "{" + space + "}"),
        spaces.map(lambda space: "[" + space + "]"),
    )


bodies = st.tuples(spaces, st.recursive(scalars, containers, max_leaves=12), spaces).map(
    lambda parts: "".join(parts).encode()
)
steps = st.sampled_from(KEYS) | st.integers(0, 4)
paths = st.lists(steps, max_size=3).map(tuple)
values = st.sampled_from([None, 1, "x", [1], {"a": 2}])


def holds(document: object, step: str | int) -> bool:
    if isinstance(step, int):
        return isinstance(document, list) and step < len(document)
    return isinstance(document, dict) and step in document


def look(document: object, path: Path) -> list[object]:
    for step in path:
        if not holds(document, step):
            return []
        document = document[step]  # type: ignore[index]
    return [document]


def with_value(document: object, path: Path, value: object) -> object:
    """The same edit on the decoded document; ValueError where it does not fit."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(step, str) and isinstance(document, dict):
        inner = document[step] if step in document else (dict[str, object]() if rest else None)
        return {**document, step: with_value(inner, rest, value)}
    if isinstance(step, int) and isinstance(document, list) and step <= len(document):
        inner = document[step] if step < len(document) else {}
        return [*document[:step], with_value(inner, rest, value), *document[step + 1 :]]
    raise ValueError(step)


def without(document: object, path: Path) -> object:
    step, rest = path[0], path[1:]
    if not holds(document, step):
        return document
    if rest:
        return with_value(document, (step,), without(document[step], rest))  # type: ignore[index]
    if isinstance(document, dict):
        return {key: inner for key, inner in document.items() if key != step}
    assert isinstance(document, list)
    return [inner for number, inner in enumerate(document) if number != step]


# -- properties ---------------------------------------------------------------------------------


@given(bodies, paths)
def test_a_span_is_what_orjson_reads_there(body: bytes, path: Path) -> None:
    span = get_span(body, path)
    found = [] if span is None else [orjson.loads(body[slice(*span)])]
    assert found == look(orjson.loads(body), path)


@given(bodies, paths, values)
@example(b'{"a":1,"\\u0061":2}', ("a",), "x")
@example(b"{}", ("a", "b"), "x")
def test_to_set_a_value_is_the_edit_of_the_document(body: bytes, path: Path, value: object) -> None:
    try:
        expected = with_value(orjson.loads(body), path, value)
    except ValueError:
        with pytest.raises(ValueError, match=r"nothing can be set|no array is made"):
            set_value(body, path, value)
        return
    assert orjson.loads(set_value(body, path, value)) == expected


@given(bodies, paths.filter(bool))
def test_to_remove_is_the_edit_of_the_document(body: bytes, path: Path) -> None:
    assert orjson.loads(remove(body, path)) == without(orjson.loads(body), path)


@given(bodies, paths, values)
def test_what_surrounds_a_value_stays_byte_for_byte(body: bytes, path: Path, value: object) -> None:
    span = get_span(body, path)
    if span is None:
        return
    start, end = span
    new = orjson.dumps(value)
    changed = set_value(body, path, value)
    assert changed.endswith(new + body[end:])
    # Only a doubled key is written more than once, always before the one that counts.
    if len(changed) - len(body) == len(new) - (end - start):
        assert changed == body[:start] + new + body[end:]


@given(bodies, paths.filter(bool))
def test_what_is_left_after_a_removal_was_there_before(body: bytes, path: Path) -> None:
    left = iter(body)
    assert all(byte in left for byte in remove(body, path))
    if get_span(body, path) is None:
        assert remove(body, path) == body


@given(st.binary(max_size=12) | bodies, st.integers(0, 60), st.binary(max_size=1))
def test_what_orjson_refuses_is_refused(body: bytes, at: int, byte: bytes) -> None:
    body = body[:at] + byte + body[at + 1 :]
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "UTF-8" in str(error) or "surrogate" in str(error) or body.startswith(b"\xef\xbb\xbf"):
            return  # here they are let through
        with pytest.raises(ValueError, match="not JSON at byte"):
            get_span(body, ())
    else:
        assert get_span(body, ()) is not None


# -- cases --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "path", "expected"),
    [
        (b'{"model":"a","t":1.10}', ("model",), b'{"model":"x","t":1.10}'),
        (b'{"t":1e400,"model" : "a" }', ("model",), b'{"t":1e400,"model" : "x" }'),
        (b'{"\\u006dodel":"a"}', ("model",), b'{"\\u006dodel":"x"}'),
        (b'{"model":"a","model":"b"}', ("model",), b'{"model":"x","model":"x"}'),
        (b"\xef\xbb\xbf{}", ("model",), b'\xef\xbb\xbf{"model":"x"}'),
        (b'{"a":1 }', ("model",), b'{"a":1,"model":"x" }'),
        (b'{"o":{"a":1},"o":{}}', ("o", "b"), b'{"o":{"a":1},"o":{"b":"x"}}'),
        (b"{}", ("a", "b"), b'{"a":{"b":"x"}}'),
        (b"[1, 2]", (1,), b'[1, "x"]'),
        (b"[1, 2]", (2,), b'[1, 2,"x"]'),
        (b"[ ]", (0,), b'["x" ]'),
        (b' {"a":1}\n', (), b' "x"\n'),
        (b'{"a":"\xff"}', ("b",), b'{"a":"\xff","b":"x"}'),
        (b'{"a":"\\ud800","\\ud800":1}', ("a",), b'{"a":"x","\\ud800":1}'),
    ],
)
def test_set_value_changes_only_the_value(body: bytes, path: Path, expected: bytes) -> None:
    assert set_value(body, path, "x") == expected


@pytest.mark.parametrize(
    ("body", "path", "expected"),
    [
        (b'{"a":1, "b":2, "c":3}', ("a",), b'{"b":2, "c":3}'),
        (b'{"a":1, "b":2, "c":3}', ("b",), b'{"a":1, "c":3}'),
        (b'{"a":1, "b":2, "c":3 }', ("c",), b'{"a":1, "b":2 }'),
        (b'{ "a":1 }', ("a",), b"{  }"),
        (b'{"a":1,"b":2,"a":3}', ("a",), b'{"b":2}'),
        (b'{"a":1}', ("b",), b'{"a":1}'),
        (b'{"a":1}', ("a", "b"), b'{"a":1}'),
        (b"[1, 2, 3]", (0,), b"[2, 3]"),
        (b'{"m":[{"x":1.10,"y":2}]}', ("m", 0, "y"), b'{"m":[{"x":1.10}]}'),
    ],
)
def test_remove_takes_the_comma_along(body: bytes, path: Path, expected: bytes) -> None:
    assert remove(body, path) == expected


def test_a_document_is_not_removed_from_itself() -> None:
    with pytest.raises(ValueError, match="cannot be removed"):
        remove(b"{}", ())


@pytest.mark.parametrize(
    ("body", "at"),
    [
        (b"", 0),
        (b"  ", 2),
        (b"{", 1),
        (b'{"a"}', 1),
        (b'{"a":}', 5),
        (b'{"a":1,}', 7),
        (b'{"a":1]', 6),
        (b'{"a":[1,2}', 9),
        (b'{"a":1 "b":2}', 7),
        (b"[1,]", 3),
        (b"[01]", 2),
        (b"[1.]", 2),
        (b"[-]", 1),
        (b"nul", 0),
        (b"{} {}", 3),
        (b'{"a":"\n"}', 5),
        (b'{"a":"\\x"}', 5),
        (b"{'a':1}", 1),
        (b'{"a":NaN}', 5),
        ("{}".encode("utf-16"), 0),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(body: bytes, at: int) -> None:
    with pytest.raises(ValueError, match=rf"not JSON at byte {at}$"):
        set_value(body, ("b",), 1)


def nested(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"[1]" + b"}" * (depth - 1)


def test_nesting_has_the_bound_of_orjson() -> None:
    deepest = nested(DEPTH_MAX)
    orjson.loads(deepest)
    assert get_span(deepest, ("a",) * (DEPTH_MAX - 1)) is not None
    with pytest.raises(ValueError, match="depth"):
        orjson.loads(nested(DEPTH_MAX + 1))
    with pytest.raises(ValueError, match="nested deeper"):
        get_span(nested(DEPTH_MAX + 1), ())


@pytest.mark.parametrize(
    ("part", "more"),
    [
        (b'{"a":"', b"x"),
        (b'{"a":"', b'\\"'),
        (b'{"a":[', b"1,"),
        (b'{"a":[', b'{"r":"u","c":[{}]},'),
        (b'{"a":[', b"[[1]],"),
        (b"", b" "),
        (b"1", b"0"),
    ],
)
def test_the_time_is_linear_whole_or_broken(part: bytes, more: bytes) -> None:
    def seconds(count: int) -> float:
        body = part + more * count
        started = time.process_time()
        with pytest.raises(ValueError, match="not JSON"):
            set_value(body + b"!", ("a",), 1)
        return time.process_time() - started

    small = min(seconds(2_000) for _ in range(3)) + 0.001
    assert seconds(20_000) < 60 * small


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"{}", []),
        (b' { "a" : 1 , "b":{"c":2} } ', ["a", "b"]),
        (b'{"a":1,"a":2,"\\u0061":3}', ["a", "a", "a"]),
        (b'{"A":1,"a ":[{"x":1}]}', ["A", "a "]),
        (b"[1]", []),
        (b"1", []),
    ],
)
def test_names_of_members_are_as_they_read_and_doubled_ones_twice(body, names):
    assert member_names(body) == names


def test_a_name_with_half_of_a_surrogate_pair_is_another_name():
    assert member_names(b'{"model\\ud83d":1,"model":2}') == ["model\ufffd", "model"]


def test_names_of_what_is_not_json_are_none():
    with pytest.raises(ValueError, match="not JSON"):
        member_names(b'{"a":1')
