"""Values that must never be shown: provider keys, tokens.

A `Secret` hides its value from repr, str, format, JSON and pickle; only `reveal()` gives it out,
and only code that puts it on a wire calls that. Config names a secret by reference, `env:NAME` or
`file:/path`, which is read once when the config is loaded; a reload reads it again. A reference
that leads nowhere is no error at start, because a gateway with ten providers is useful with one
key: the secret is `missing`, and `weir check` lists it.

Every live value is known here, and the latest of those that are gone, so that the log can blank
it wherever it turns up.
"""

from __future__ import annotations

import hmac
import os
import weakref
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

import orjson

MASK: Final = "***"
MASK_BYTES: Final = b"***"
ENV: Final = "env:"
FILE: Final = "file:"

# A key or token is shorter by far; a longer file is the wrong file.
FILE_BYTES_MAX: Final = 64 * 1024
# Blanking shorter values would tear ordinary words out of the log, and no provider's key is that
# short.
SCRUBBED_BYTES_MIN: Final = 8

# A reload replaces keys while lines that name the old ones are still on their way.
GONE_MAX: Final = 64

_live: dict[int, bytes] = {}
_gone: deque[bytes] = deque(maxlen=GONE_MAX)
_generation = 0  # changes with what is known
_forms: tuple[int, tuple[bytes, ...]] = (0, ())  # of which generation, and the forms


class Secret:
    """One secret value, or the fact that it is missing.

    reference: where it comes from, safe to show; empty for a value written inline.
    why_missing: the reason in words; empty if the value is there.
    """

    __slots__ = ("__weakref__", "_value", "reference", "why_missing")

    def __init__(self, value: bytes | None, *, reference: str = "", why_missing: str = "") -> None:
        self._value = value
        self.reference = reference
        self.why_missing = why_missing or ("" if value else "not set")
        if value and len(value) >= SCRUBBED_BYTES_MIN:
            _remember(self, value)

    @property
    def missing(self) -> bool:
        return not self._value

    @property
    def inline(self) -> bool:
        """Whether the value itself was written into the config."""
        return not self.reference

    def reveal(self) -> bytes:
        """The value, for the wire. LookupError if it is missing."""
        if not self._value:
            raise LookupError(f"{self.reference or 'the secret'} is {self.why_missing}")
        return self._value

    def __repr__(self) -> str:
        # The reference alone: an inline secret shows as nothing but the mask.
        return f"Secret({self.reference or MASK})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        theirs = other._value if isinstance(other, Secret) else other
        if not isinstance(theirs, bytes) or self._value is None:
            return self is other
        return hmac.compare_digest(self._value, theirs)

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")


def resolve(text: str, environ: Mapping[str, str]) -> Secret:
    """Make the secret that a config value stands for: a reference, or the value itself."""
    if text.startswith(ENV):
        return _from_text(environ.get(text.removeprefix(ENV)), text)
    if text.startswith(FILE):
        return _from_file(text)
    return _from_text(text, "")


def scrub(text: bytes) -> bytes:
    """The text with every known secret blanked."""
    generation, forms = _forms
    for form in forms if generation == _generation else _known_forms():
        if text.find(form) >= 0:  # `in` would first ask whether it is a number
            text = text.replace(form, MASK_BYTES)
    return text


def _known_forms() -> tuple[bytes, ...]:
    """Each known value as it could stand in a log, plain and escaped for JSON, longest first."""
    global _forms
    # Taken first, and `list` copies in one step: another thread may make secrets meanwhile.
    generation = _generation
    values = {*list(_live.values()), *list(_gone)}
    forms = values | {_escaped(value) for value in values}
    _forms = (generation, tuple(sorted(forms, key=len, reverse=True)))
    return _forms[1]


def _remember(secret: Secret, value: bytes) -> None:
    global _generation
    key = id(secret)
    _live[key] = value
    weakref.finalize(secret, _forget, key).atexit = False
    _generation += 1


def _forget(key: int) -> None:
    _gone.append(_live.pop(key))


def _escaped(value: bytes) -> bytes:
    return orjson.dumps(value.decode("utf-8", "replace"))[1:-1]


def _from_text(text: str | None, reference: str) -> Secret:
    if text is None:
        return Secret(None, reference=reference)
    value = text.strip()
    if not value:
        return Secret(None, reference=reference, why_missing="empty")
    # A line break in a key would become a second header field.
    if any(ord(sign) < 0x20 or ord(sign) == 0x7F for sign in value):
        return Secret(None, reference=reference, why_missing="unusable: it holds control bytes")
    return Secret(value.encode("utf-8", "surrogateescape"), reference=reference)


def _from_file(reference: str) -> Secret:
    try:
        path = Path(reference.removeprefix(FILE)).expanduser()
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except (OSError, RuntimeError, ValueError) as error:
        # RuntimeError: a `~` without a home; ValueError: a NUL in the path.
        code = getattr(error, "errno", None)
        why = os.strerror(code).lower() if code else str(error)
        return Secret(None, reference=reference, why_missing=f"unreadable: {why}")
    if len(content) > FILE_BYTES_MAX:
        return Secret(None, reference=reference, why_missing="unusable: the file is too long")
    return _from_text(content.decode("utf-8", "surrogateescape"), reference)
