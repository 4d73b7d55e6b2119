"""The text of a body that a search looks at: what was said, without what it was wrapped in.

Of a JSON document these are its texts. Of a stream they are put together from its pieces, because
a word may lie in two events. Of anything else, or what was cut, it is the body as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from gateway import Event, Splitter

from .records import Body
from .searching import words

# What is kept to be searched of one body. PostgreSQL's index takes a row of about a megabyte.
CHARS_MAX: Final = 128 * 1024
# A text so long, and without a space, is a picture or a sound.
_ENCODED_CHARS_MIN: Final = 512
# No answer's text lies deeper in an event.
_DEPTH_MAX: Final = 16
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
    return words_said(*[Said(body) for body in bodies if body is not None])


def words_said(*said: Said | None) -> str:
    """The same of bodies that have been read."""
    return " ".join([words(" ".join(each.said)[:CHARS_MAX]) for each in said if each is not None])


class Said:
    """What a body says.

    texts: Its texts, which may be replaced; none where it is no document and no stream of them.
    """

    def __init__(self, body: Body) -> None:
        self._data = body.data or b""
        self._documents: list[tuple[bytes, Any]] = []  # each as it stands, and decoded
        self._slots: list[list[_Slot]] = []
        self._is_changed = False
        self._said_count = self._read(body.type)
        self.texts = ["".join([slot.text for slot in slots]) for slots in self._slots]

    @property
    def said(self) -> list[str]:
        """What a search looks at: the texts that are no wrapping."""
        if not self._documents:
            return [_plain(self._data)]
        return [text for text in self.texts[: self._said_count] if _is_text(text)]

    def replace(self, place: int, text: str) -> None:
        """Put another in the place of one of `texts`. In a stream all of it stands in its first
        piece then.
        """
        self._is_changed = True
        self.texts[place] = text
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
            # One of several lines cannot be replaced, and no provider sends any.
            return self._read_stream([each.data for each in events if each.data in each.raw])
        if kind in _LINES:
            return self._read_stream(self._data.split(b"\n"))
        document = _decoded(self._data)
        if document is not None:
            self._documents = [(self._data, document)]
            self._slots = [[slot] for slot in _texts(document)]
        return len(self._slots)

    def _read_stream(self, documents: list[bytes]) -> int:
        pieces: dict[tuple[Any, str], list[_Slot]] = {}
        others: list[list[_Slot]] = []
        for data in documents:
            document = _decoded(data)
            if document is None:
                continue  # an end marker
            self._documents.append((data, document))
            _gather(document, (), pieces, 0)
            if b"\\" in data:  # other texts are as they stand
                others += [[slot] for slot in _texts(document)]
        # A piece that is among the others too would be replaced twice.
        known = {slot.place for slots in pieces.values() for slot in slots} if others else set()
        others = [slots for slots in others if slots[0].place not in known]
        self._slots = [*pieces.values(), *others]
        return len(pieces)


class _Slot:
    """A text in a decoded document, and where it stands."""

    __slots__ = ("_holder", "_key", "text")

    def __init__(self, holder: Any, key: Any, text: str) -> None:
        self._holder = holder
        self._key = key
        self.text = text

    @property
    def place(self) -> tuple[int, Any]:
        """The same for no other, while the document lives."""
        return id(self._holder), self._key

    def fill(self, text: str) -> None:
        self._holder[self._key] = text


def _texts(document: Any) -> Iterator[_Slot]:
    """All texts of a document, however deep it is."""
    waiting = [document]
    for value in waiting:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(inner, str):
                yield _Slot(value, key, inner)
            elif isinstance(inner, dict | list):
                waiting.append(inner)


def _gather(
    value: Any, way: tuple[Any, ...], pieces: dict[tuple[Any, str], list[_Slot]], depth: int
) -> None:
    """Add the pieces of an answer that stand in one document of a stream.

    way: The names that lead there, and the numbers that tell several answers and parts apart.
    """
    if isinstance(value, list):
        for inner in value:
            if isinstance(inner, dict):
                _gather(inner, way, pieces, depth)
        return
    for name in _INDEXES:
        if name in value and isinstance(value[name], int):
            way = (way, value[name])
    for name, inner in value.items():
        if isinstance(inner, str):
            if name in _PIECES:
                pieces.setdefault((way, name), []).append(_Slot(value, name, inner))
        elif isinstance(inner, dict | list) and depth < _DEPTH_MAX:
            _gather(inner, (way, name), pieces, depth + 1)


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
