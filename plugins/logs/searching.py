"""What is searched for, as all stores ask their indexes of words: words, and facts as words."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from .records import FACTS, METADATA, NUMBERS, Query, facts_of

# What is longer is no word. PostgreSQL leaves out what is longer than 2,046 bytes.
WORD_CHARS_MAX: Final = 256
_TERM: Final = re.compile(r'"([^"]*)"|([^\s"]+)')
_APART: Final = re.compile(r"[\W_]+")
# Scripts that put no space between words: there each character is one.
_EACH: Final = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
_ASCII: Final = {code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)}


def words(text: str) -> str:
    """A text as its words, small and between single spaces: what is stored and what is asked for
    are brought to this one form, so that all stores find the same.
    """
    if text.isascii():
        plain = text.translate(_ASCII)
    else:
        plain = _APART.sub(" ", unicodedata.normalize("NFC", text).lower())
        plain = _EACH.sub(r" \1 ", plain)
    return " ".join([word for word in plain.split() if len(word) <= WORD_CHARS_MAX])


def phrases(text: str) -> list[str]:
    """What a search looks for: phrases of one or more words. ValueError where there is no word."""
    found = [words(quoted or plain) for quoted, plain in _TERM.findall(text)]
    kept = [phrase for phrase in found if phrase]
    if not kept:
        raise ValueError("search: there is no word in it")
    return kept


@lru_cache(4096)
def token(field: str, value: str) -> str:
    """The word that stands for a fact in the index of words: short, and the same in all stores."""
    return "x" + hashlib.blake2b(f"{field}={value}".encode(), digest_size=8).hexdigest()


def tokens(document: Mapping[str, Any]) -> str:
    """The words for all facts of an entry."""
    return " ".join({token(field, value): None for field, value in facts_of(document)})


def asked_facts(query: Query) -> list[list[str]]:
    """What `Query.equal` asks for of facts: of each list any one word has to be there."""
    found = []
    for field, values in query.equal.items():
        if field in FACTS or (field.startswith(METADATA) and field != METADATA):
            found.append([token(field, value) for value in values])
        elif field not in NUMBERS:
            raise ValueError(f"{field}: no such field; there are {_fields()}")
    return found


def asked_numbers(query: Query) -> list[tuple[str, str, list[float]]]:
    """What is asked for of numbers: field, "=" or ">=" or "<=", and what to compare with.

    Of several numbers any one will do.
    """
    found: list[tuple[str, str, list[float]]] = []
    for field, values in query.equal.items():
        if field in NUMBERS and field not in FACTS:
            found.append((field, "=", [float(value) for value in values]))
    for sign, bounds in ((">=", query.least), ("<=", query.most)):
        for field, bound in bounds.items():
            if field not in NUMBERS:
                raise ValueError(f"{field}: no such number; there are {', '.join(sorted(NUMBERS))}")
            found.append((field, sign, [bound]))
    return found


def _fields() -> str:
    return ", ".join(sorted((*FACTS, *NUMBERS, "metadata.NAME")))
