"""A form's field is found wherever it stands, as clients write it; one that is doubtful is none."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.forms import VALUE_BYTES_MAX, field_in, is_form

KIND = b"multipart/form-data; boundary=xYz"


def part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    head = b'Content-Disposition: form-data; name="%b"%b' % (name, more)
    return b"--xYz\r\n%b\r\n\r\n%b\r\n" % (head, value)


END = b"--xYz--\r\n"
FILE = part(b"file", b"RIFF\r\n--xY\0\xff", b'; filename="a.wav"\r\nContent-Type: audio/wav')
names = st.text("abcdefghijklmnopqrstuvwxyz_[]0123456789", min_size=1)


@given(st.dictionaries(names, st.text(max_size=50)), st.binary(max_size=300))
def test_every_field_that_a_client_writes_is_read(fields: dict[str, str], file: bytes) -> None:
    sent: Any = {"data": fields, "files": {"a file": ("model", file)}}
    request = httpx.Request("POST", "http://h", **sent)
    kind = request.headers["content-type"].encode()

    assert is_form(kind)
    for name, value in fields.items():
        assert field_in(request.read(), kind, name.encode()) == value


@pytest.mark.parametrize(
    "body",
    [
        part(b"model", b"whisper-1") + FILE + END,
        FILE + part(b"model", b"whisper-1") + END,
        b"a preamble\r\n" + part(b"model", b"whisper-1") + END,
        part(b"model", b"whisper-1") + FILE[:20],
        part(b"model", b"whisper-1", b"\r\nContent-Type: text/plain") + END,
        part(b"prompt", b'name="model"\r\n\r\ngpt') + part(b"model", b"whisper-1") + END,
        part(b"x", b"gpt", b'; filename="model"') + part(b"model", b"whisper-1") + END,
        b"--xYz\r\ncontent-disposition: form-data; name=model\r\n\r\nwhisper-1\r\n" + END,
    ],
)
def test_it_is_found_among_others(body: bytes) -> None:
    assert field_in(body, KIND, b"model") == "whisper-1"
    assert field_in(body, b'Multipart/Form-Data; charset=utf-8; BOUNDARY="xYz"', b"model") == (
        "whisper-1"
    )


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (KIND, b""),
        (KIND, FILE + END),
        (KIND, part(b"model", b"whisper-1")),  # it may go on
        (KIND, part(b"model", b"one") + part(b"model", b"two") + END),
        (KIND, part(b"model", b"x" * (VALUE_BYTES_MAX + 1)) + END),
        (KIND, part(b"Model", b"whisper-1") + END),
        (b"multipart/form-data", part(b"model", b"whisper-1") + END),
        (b"multipart/form-data; boundary=other", part(b"model", b"whisper-1") + END),
    ],
)
def test_what_is_missing_cut_or_doubtful_is_none(kind: bytes, body: bytes) -> None:
    assert field_in(body, kind, b"model") is None


@given(st.binary(max_size=200), st.binary(max_size=100))
def test_no_body_is_too_strange(body: bytes, kind: bytes) -> None:
    field_in(body, kind, b"model")
    field_in(b"--xYz\r\n" + body + b"--xYz", KIND, b"model")
