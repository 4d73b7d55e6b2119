"""Forms with files (multipart/form-data, RFC 7578): the small fields in them, such as the model of
a transcription. Nothing is decoded but the field that is asked for.
"""

from __future__ import annotations

import re
from typing import Final

FORM: Final = b"multipart/form-data"
# RFC 2046 section 5.1.1: at most 70 characters.
_BOUNDARY: Final = re.compile(rb'boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)
_NAME: Final = re.compile(
    rb"^content-disposition:[ \t]*form-data[ \t]*;(?:[^\r\n]*;)?[ \t]*"
    rb'name=(?:"([^"]*)"|([^\s;"]*))',
    re.IGNORECASE | re.MULTILINE,
)
# What is longer is no name of anything.
VALUE_BYTES_MAX: Final = 1024


def is_form(kind: bytes) -> bool:
    """Whether a Content-Type says so."""
    return kind[: len(FORM)].lower() == FORM


def field_in(body: bytes, kind: bytes, name: bytes) -> str | None:
    """The value of a form's field; None where there is none, or several, of which nobody knows
    which counts.

    body: all of it, or its beginning: a part counts once the next one has begun. kind: the
    Content-Type.
    """
    found = _BOUNDARY.search(kind)
    if found is None:
        return None
    values = []
    parts = (b"\r\n" + body).split(b"\r\n--" + (found[1] or found[2]))
    for part in parts[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        named = _NAME.search(head)
        if named is not None and (named[1] or named[2]) == name:
            values.append(value)
    if len(values) != 1 or len(values[0]) > VALUE_BYTES_MAX:
        return None
    return values[0].decode("utf-8", "replace")
