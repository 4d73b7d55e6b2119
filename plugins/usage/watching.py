"""Watchers of a stream, one a form: events, Amazon's messages, JSON lines.

None of them changes or delays a byte. JSON is decoded only where the bytes say that it can matter,
and what is kept of a stream is a few events, however long it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import orjson

from gateway import Usage, has, may_tell, read_json, read_usage

from .aws import MessageSplitter, inner_of
from .guessing import Written
from .likeness import Likeness

if TYPE_CHECKING:
    from gateway import Event

# So many telling events are read as they come. Who counts in every event counts up, so of more
# than these only the last is kept, to be read at the end; the same for a reason.
READ_AT_ONCE: Final = 8
# The first documents name the model, if any does.
LOOKS_FOR_MODEL: Final = 3
LINE_BYTES_MAX: Final = 1024 * 1024
# As no text can have it: a quote within a string stands behind a backslash.
_COUNTS: Final = re.compile(rb'"usage(?:Metadata)?"\s*+:\s*+\{')
_REASON: Final = re.compile(rb'[rR]eason"\s*+:\s*+"')


class Watcher:
    """What all watchers do: fold what is said into `usage`.

    is_pending: the answer says that its counts come later. document: what it decodes to, where that
    is one document: it may speak of an error.
    """

    __slots__ = ("document", "is_pending", "usage")

    def __init__(self) -> None:
        self.usage = Usage()
        self.is_pending = False
        self.document: object = None

    def __call__(self, data: bytes) -> None:
        """Watch a slice. Whoever watches events or messages is shown those instead.

        It stands here because mypyc lays out an object that can be called differently, and a class
        and its base have to agree.
        """

    def failed(self, error: Exception) -> None:
        """The gateway shows no more: the answer cannot be read, or a watcher raised."""
        self.usage.problem = str(error) or repr(error)

    def end(self) -> None:
        """Read what was kept; nothing comes any more. ValueError where it is broken."""

    @property
    def is_counted(self) -> bool:
        """Whether the provider's own count is of all that came."""
        return self.usage.output is not None

    def written(self) -> int:
        """Guess the tokens that were seen."""
        return 0


class Note:
    """Of one exchange: who watches, and whether we asked in the caller's place."""

    __slots__ = ("asked", "watcher")

    def __init__(self) -> None:
        self.asked = False
        self.watcher: Watcher | None = None


class Streamed(Watcher):
    """A stream of documents."""

    __slots__ = ("_counted", "_counts", "_looks", "_read", "_reason", "_written")

    def __init__(self) -> None:
        super().__init__()
        self._read = 0
        self._looks = LOOKS_FOR_MODEL
        self._counts: bytes | None = None
        self._reason: bytes | None = None
        self._written = Written()
        self._counted = -1  # how many parts had come when counts were told

    def end(self) -> None:
        reason, self._reason = self._reason, None
        counts, self._counts = self._counts, None
        for kept in (reason, counts):
            if kept is not None:
                self._read_one(kept)

    def failed(self, error: Exception) -> None:
        super().failed(error)
        self._counted = -1  # what comes now is not seen

    @property
    def is_counted(self) -> bool:
        return self._counted == self._written.parts and self.usage.output is not None

    def written(self) -> int:
        return self._written.tokens()

    def _look(self, data: bytes) -> None:
        """Read a document that may say something."""
        if data[:1] != b"{" and data.lstrip()[:1] != b"{":
            return  # an end marker, a ping or a comment
        self._looks -= 1
        counts = _COUNTS.search(data) is not None
        if counts:
            self._counted = self._written.parts
        if self._read >= READ_AT_ONCE:
            reason = _REASON.search(data) is not None
            if counts:
                self._counts = data
            if reason:
                self._reason = data
            if counts or reason:
                return
        self._read += 1
        self._read_one(data)

    def _read_one(self, data: bytes) -> None:
        """Read a document; one that is broken makes what was counted before it a part at most."""
        try:
            document = read_json(data)
        except orjson.JSONDecodeError as error:
            self.usage.problem = f"not read: {error}"
            self._counted = -1
            return
        read_usage(document, self.usage)


class Events(Streamed):
    """Server-sent events."""

    __slots__ = ("_likeness",)

    def __init__(self) -> None:
        super().__init__()
        self._likeness = Likeness()

    def event(self, event: Event) -> None:
        raw = event.raw
        if self._likeness.holds(raw):
            self._written.part(raw)
            return
        is_part = has(raw, b'elta":') or has(raw, b'"choices"') or has(raw, b'"candidates"')
        if is_part:
            self._written.part(raw)
        if may_tell(raw) or (self._looks > 0 and self.usage.model is None):
            self._look(event.data)
        elif is_part:
            self._likeness.learn(raw)


class Messages(Streamed):
    """Amazon's event stream."""

    __slots__ = ("_splitter",)

    def __init__(self) -> None:
        super().__init__()
        self._splitter = MessageSplitter()

    def __call__(self, data: bytes) -> None:
        for payload in self._splitter.feed(data):
            inner = inner_of(payload)
            if b'elta":' in inner or b'"generation"' in inner or b'"outputText"' in inner:
                self._written.part(inner)
            if may_tell(inner) or (self._looks > 0 and self.usage.model is None):
                self._look(inner)


class Lines(Streamed):
    """One JSON document a line: Ollama's own streams."""

    __slots__ = ("_rest", "_skips")

    def __init__(self) -> None:
        super().__init__()
        self._rest = bytearray()
        self._skips = False  # the line under way is too large to be read

    def __call__(self, data: bytes) -> None:
        rest = self._rest
        if b"\n" in data:
            first, *lines, last = data.split(b"\n")
            rest += first
            if self._skips:
                self._skips = False
            elif rest:
                self._line(bytes(rest))
            for line in lines:
                if line:
                    self._line(line)
            self._rest = rest = bytearray(last)
        elif not self._skips:
            rest += data
        if len(rest) > LINE_BYTES_MAX:
            self._skips = True
            rest.clear()
            self.usage.problem = "a line was too long to be read"

    def end(self) -> None:
        if self._rest:
            line, self._rest = bytes(self._rest), bytearray()
            self._line(line)
        super().end()

    def _line(self, line: bytes) -> None:
        if b'"done":' in line:
            self._written.part(line)
        if may_tell(line) or (self._looks > 0 and self.usage.model is None):
            self._look(line)
