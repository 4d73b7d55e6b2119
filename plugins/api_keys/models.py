"""Which model a request really names, for keys with rules about models.

The rule must read what the provider will read, so whatever could be read in two ways is refused: a
member `model` that stands twice or is written in another case, NaN, and everything that is not
plain JSON. Where path, query and body each name a model, each has to be allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

import orjson

from gateway import CallerFault, Exchange, member_names

from .grants import Grant, is_plain

# Members of a body that say which model is meant; OpenRouter takes the first of `models` that is
# up, and a batch holds whole requests.
_MODEL: Final = "model"
_MODELS: Final = "models"
_BATCH: Final = "requests"
_WATCHED: Final = frozenset({_MODEL, _MODELS, _BATCH})
_PARAMETERS: Final = ("model", "deployment")  # of a realtime session's address
# What cannot ask a model for anything without a body.
_HARMLESS: Final = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS"})
# The one kind of WebSocket whose model is fixed by its address.
_REALTIME: Final = b"/realtime"
_PREFIX: Final = "models/"


class Provider(Protocol):
    """What is asked of the provider that a request goes to."""

    def dialect_at(self, path: bytes) -> Dialect | None: ...


class Dialect(Protocol):
    """What is asked of the reader of its format."""

    def model(self, document: object, path: bytes) -> str | None: ...


def check_models(
    exchange: Exchange, grant: Grant, provider: Provider, path: bytes, body: bytes | None
) -> None:
    """Refuse a request whose models the grant does not allow, or cannot be known.

    path: with query, as it goes to that provider. body: None where it was not read.
    """
    bare, _, query = path.partition(b"?")
    if not is_plain(bare.decode("latin-1")):
        raise _fault("it may use plain paths only")
    dialect = provider.dialect_at(path)
    in_path = None if dialect is None else dialect.model(None, bare)
    names = [] if in_path is None else [in_path]
    names += _in_query(query)
    if body is None or body:
        names += _in_body(exchange, body, has_path=in_path is not None)
    elif exchange.method in _HARMLESS:
        if exchange.headers.get(b"upgrade") is not None:
            _check_socket(bare, names)
        elif not names:
            return
    if not names:
        raise _fault("its request names no model")
    for name in names:
        if name != name.strip() or not name.isprintable():
            raise _fault("the model's name has spaces or control characters around or in it")
        grant.check_model(name.removeprefix(_PREFIX))


def _in_query(query: bytes) -> list[str]:
    if not query:
        return []
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return [value for name, value in pairs if name.strip().lower() in _PARAMETERS]


def _in_body(exchange: Exchange, body: bytes | None, *, has_path: bool) -> list[str]:
    document = None if body is None else _decoded(exchange, body)
    if not isinstance(document, dict) or body is None:
        raise _fault("its requests have to be JSON objects, sent as application/json")
    _check_names(document, body)
    if _BATCH in document and not has_path:
        raise _fault("it cannot send batches")
    names = []
    if _MODEL in document:
        names.append(_text(document[_MODEL]))
    names += _listed(document.get(_MODELS))
    return names


def _decoded(exchange: Exchange, body: bytes) -> Any:
    if body is exchange.body:
        return exchange.document
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _check_names(document: dict[str, Any], body: bytes) -> None:
    """Refuse what another reader could take for another model."""
    for name in document:
        if name not in _WATCHED and name.strip().lower() in _WATCHED:
            raise _fault(f'a member is written "{name}"')
    # Of a name that stands there once, and without an escape in any, there is no second.
    if body.find(b"\\u") < 0 and all(body.count(b'"%b"' % n.encode()) < 2 for n in _WATCHED):
        return
    names = member_names(body)
    for name in _WATCHED:
        if names.count(name) > 1:
            raise _fault(f'the member "{name}" stands there twice')


def _listed(models: object) -> Iterator[str]:
    if models is None:
        return
    if not isinstance(models, list):
        raise _fault('the member "models" is no list')
    for model in models:
        yield _text(model)


def _text(model: object) -> str:
    if not isinstance(model, str):
        raise _fault("the model is not named by a text")
    return model


def _check_socket(bare: bytes, names: list[str]) -> None:
    if not names or not bare.endswith(_REALTIME):
        raise _fault("it may open no WebSocket but a realtime session with its model in the URL")


def _fault(reason: str) -> CallerFault:
    return CallerFault(
        f"This key is for certain models only: {reason}.", status=400, code="model_unclear"
    )
