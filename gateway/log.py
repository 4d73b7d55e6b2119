"""The gateway's own log: structlog to standard error, as JSON lines, or for people on a terminal.

`log = get("gateway.pool")` at the head of a module, then `log.warning("attempt_failed",
provider=name)`: events are lower_snake facts, values are keys. A level that is off costs an empty
call. Lines leave through a `LineWriter`, so that writing never holds the loop, and secrets are
blanked there by their value, whatever way they came in. A value that is called by a secret's name
is blanked too, whether we know it or not, as with a caller's own key. What libraries log by
`logging` joins the same stream.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from gateway.lines import LineWriter
from gateway.secret import MASK, Secret

STDERR: Final = 2
# Names of what nobody may read, as fields of HTTP or keys of ours have them. Not "tokens", which
# are counted, and not "key_id".
_SECRET_NAME: Final = re.compile(
    r"(?i:(.+[-_.])?(authorization|api[-_]?key|[a-z]*token|secret|secret[-_]key|password|passwd|"
    r"credentials?|(set-)?cookie))"
)
# Fields of an event, in a table or a list of pairs, in an object: deeper is no field of ours.
_DEPTH_MAX: Final = 3

_loggers: dict[str, FilteringBoundLogger] = {}
_processors: list[Processor] = []
_writer = LineWriter(STDERR)
_level, _form = "warning", "auto"


def get(name: str) -> FilteringBoundLogger:
    """The logger of that name, which its lines carry as `source`."""
    if name not in _loggers:
        _loggers[name] = structlog.get_logger(source=name)
    return _loggers[name]


def set_up(level: str = "info", form: str = "auto", *, fd: int = STDERR) -> None:
    """Set level and form, at start and again at a reload. Loggers that exist already follow."""
    _configure(level, form, fd)
    root = logging.getLogger()
    root.handlers[:] = [*(h for h in root.handlers if not isinstance(h, _Bridge)), _Bridge()]
    # Libraries are chatty below this, and say nothing there that we do not.
    root.setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))


def set_level(level: str) -> str:
    """Change the level alone, until the next `set_up`; gives the one before."""
    before = _level
    set_up(level, _form, fd=_writer.fd)
    return before


def _configure(level: str, form: str, fd: int) -> None:
    global _writer, _level, _form
    _level, _form = level, form
    if fd != _writer.fd:
        _writer.close()
        _writer = LineWriter(fd)
    # One list for ever: structlog's own test tool swaps its content in place.
    _processors[:] = [structlog.processors.add_log_level, _blanked, *_rendering(form, fd)]
    structlog.configure(
        processors=_processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Out,
        cache_logger_on_first_use=True,
    )
    for logger in _loggers.values():
        vars(logger).pop("bind", None)  # what the proxy cached knows the old level


def flush(timeout_s: float = 1.0) -> bool:
    """Wait until everything logged so far is written; False if that takes too long."""
    return _writer.flush(timeout_s)


def dropped() -> int:
    """Lines lost so far because standard error did not take them."""
    return _writer.dropped


def _rendering(form: str, fd: int) -> list[Processor]:
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    if form == "console" or (form == "auto" and os.isatty(fd)):
        console = structlog.dev.ConsoleRenderer(
            colors=os.isatty(fd) and not os.environ.get("NO_COLOR"),
            exception_formatter=structlog.dev.plain_traceback,
        )
        return [stamp, console, _encoded]
    return [stamp, structlog.processors.format_exc_info, _as_json]


def _blanked(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if name != "exc_info":  # structlog's own, and a tuple
            event[name] = _without_secrets(name, value, 0)
    return event


def _without_secrets(name: object, value: Any, depth: int) -> Any:
    """The value, or a mask if its name is a secret's. Numbers pass: they are counts and times."""
    if value is None or isinstance(value, int | float | Secret):
        return value
    text = name.decode("latin-1") if isinstance(name, bytes) else name
    if isinstance(text, str) and _SECRET_NAME.fullmatch(text):
        return MASK
    if depth == _DEPTH_MAX:
        return value
    if isinstance(value, Mapping):
        return {key: _without_secrets(key, inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        if len(value) == 2 and isinstance(value[0], str | bytes):  # a field: its name and value
            return [value[0], _without_secrets(value[0], value[1], depth + 1)]
        return [_without_secrets("", inner, depth + 1) for inner in value]
    return value


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> bytes:
    facts = {**{key: event.pop(key) for key in ("timestamp", "level", "event")}, **event}
    try:
        return orjson.dumps(facts, default=_plain)
    except TypeError:  # a lone surrogate, an integer beyond 64 bits: never worth an exception
        return orjson.dumps({key: _ascii(value) for key, value in facts.items()})


def _ascii(value: object) -> str:
    return value if isinstance(value, str) and value.isascii() else ascii(value)


def _plain(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else repr(value)


def _encoded(_: WrappedLogger, __: str, line: Any) -> bytes:
    text: str = line
    return text.encode("utf-8", "backslashreplace")


class _Out:
    """What structlog hands the finished line to; the level's name is the method's."""

    def msg(self, line: bytes) -> None:
        _writer.put(line)

    debug = info = warning = error = critical = exception = msg


class _Bridge(logging.Handler):
    """Brings what libraries log by `logging` into our stream."""

    def emit(self, record: logging.LogRecord) -> None:
        log: Any = get(record.name)
        log.log(
            record.levelno, "library_message", message=record.getMessage(), exc_info=record.exc_info
        )


# Until `set_up` says otherwise, whoever imports a module of ours gets warnings and no more.
_configure("warning", "auto", STDERR)
atexit.register(flush)
