"""The text of a body that a search looks at: what was said, without what it was wrapped in.

Of a JSON document these are its texts. Of a stream they are put together from its pieces, because
a word may lie in two events. Of anything else, or what was cut, it is the body as it stands.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

from gateway import Event, Splitter

from .records import Body
from .searching import words

# What is kept to be searched of one body. PostgreSQL's index takes a row of about a megabyte.
CHARS_MAX: Final = 128 * 1024
# A text so long, and without a space, is a picture or a sound.
_ENCODED_CHARS_MIN: Final = 512
# Deeper than this, ways are told apart by their ends.
_WAY_MAX: Final = 32
# Members that hold pieces of an answer, in the streams of all providers.
_PIECES: Final = frozenset(
    {
        "arguments",
        "content",
        "delta",
        "generation",
        "outputText",
        "partial_json",
        "reasoning",
        "reasoning_content",
        "refusal",
        "response",
        "text",
        "thinking",
        "transcript",
    }
)
# Members that say which of several answers or parts a piece belongs to.
_INDEXES: Final = ("index", "output_index", "content_index")
_LINES: Final = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")
_ESCAPE: Final = re.compile(r'\\(?:u([0-9a-fA-F]{4})|([nrtbf"/\\]))')


def words_of(*bodies: Body | None) -> str:
    """The words of what some bodies say."""
    texts = [" ".join(Said(body).said) for body in bodies if body is not None]
    return " ".join([words(text[:CHARS_MAX]) for text in texts])


class Said:
    """What a body says.

    texts: All of its texts, which may be replaced where the body is a document or a stream of them.
    said: Those of them that a search looks at.
    """

    def __init__(self, body: Body) -> None:
        self._data = body.data or b""
        self._documents: list[tuple[bytes, Any]] = []  # each as it stands, and decoded
        self._slots: list[list[_Slot]] = []
        self._is_changed = False
        count = self._read(body.type)
        self.texts = ["".join([slot.text for slot in slots]) for slots in self._slots]
        self.said = [text for text in self.texts[:count] if _is_text(text)]
        if not self._documents:
            self.said = [_plain(self._data)]

    def replace(self, place: int, text: str) -> None:
        """Put another in the place of one of `texts`. In a stream all of it stands in its first
        piece then.
        """
        self._is_changed = True
        first, *others = self._slots[place]
        first.fill(text)
        for slot in others:
            slot.fill("")

    def data(self) -> bytes:
        """The body, with what was replaced."""
        if not self._is_changed:
            return self._data
        found, at = [], 0
        for raw, document in self._documents:
            start = self._data.index(raw, at)
            found += [self._data[at:start], orjson.dumps(document)]
            at = start + len(raw)
        return b"".join([*found, self._data[at:]])

    def _read(self, kind: str) -> int:
        """Find the texts; how many of them are for a search, which stand first."""
        if kind == "text/event-stream":
            splitter = Splitter()
            events = splitter.feed(self._data)
            if splitter.rest:  # the last one may lack its end, or was cut
                events.append(Event(splitter.rest))
            return self._read_stream([event.data for event in events])
        if kind in _LINES:
            return self._read_stream(self._data.split(b"\n"))
        document = _decoded(self._data)
        if document is not None:
            self._documents = [(self._data, document)]
            self._slots = [[slot] for _, _, slot in _texts(document)]
        return len(self._slots)

    def _read_stream(self, documents: list[bytes]) -> int:
        pieces: dict[tuple[object, ...], list[_Slot]] = {}
        others = []
        for data in documents:
            document = _decoded(data)
            if document is None or data not in self._data:  # an end marker; one of several lines
                continue
            self._documents.append((data, document))
            for where, name, slot in _texts(document):
                if name in _PIECES:
                    pieces.setdefault((*where, name), []).append(slot)
                else:
                    others.append([slot])
        self._slots = [*pieces.values(), *others]
        return len(pieces)


class _Slot:
    """A text in a decoded document, and where it stands."""

    __slots__ = ("_holder", "_key", "text")

    def __init__(self, holder: Any, key: Any) -> None:
        self._holder = holder
        self._key = key
        self.text: str = holder[key]

    def fill(self, text: str) -> None:
        self._holder[self._key] = text


def _texts(document: Any) -> Iterator[tuple[tuple[object, ...], object, _Slot]]:
    """All texts of a document: the way to what holds it, its name there, and the text itself.

    The way is one of names, and of the numbers that tell several answers and their parts apart.
    """
    waiting: deque[tuple[Any, tuple[object, ...]]] = deque([(document, ())])
    while waiting:
        value, way = waiting.popleft()
        if isinstance(value, list):
            keys: Iterable[Any] = range(len(value))
        else:
            keys = value
            way = (*way, *[value[key] for key in _INDEXES if isinstance(value.get(key), int)])
        for key in keys:
            inner = value[key]
            name = "" if isinstance(key, int) else key
            if isinstance(inner, str):
                yield way, name, _Slot(value, key)
            elif isinstance(inner, dict | list):
                waiting.append((inner, (*way, name)[-_WAY_MAX:]))


def _decoded(data: bytes) -> Any:
    """A document: an object or a list; None for anything else."""
    if data[:1] not in (b"{", b"["):
        return None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _plain(data: bytes) -> str:
    """The text of what is no document, or was cut; "" where it is no text at all."""
    text = data.decode("utf-8", "ignore")
    if len(text.encode()) < len(data) - 3:  # a character may have been cut, and no more
        return ""
    if data[:1] in (b"{", b"["):
        text = _ESCAPE.sub(_unescaped, text)
    return " ".join([part for part in text.split(" ") if _is_text(part)])


def _unescaped(found: re.Match[str]) -> str:
    code = int(found[1], 16) if found[1] else 0x20
    return " " if 0xD800 <= code < 0xE000 else chr(code)


def _is_text(text: str) -> bool:
    return len(text) < _ENCODED_CHARS_MIN or " " in text or not text.isascii()
