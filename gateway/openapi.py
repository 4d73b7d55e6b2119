"""The admin API in the form of OpenAPI 3.1: what `GET /api/openapi.json` answers.

It is made at start of the endpoints that are served, each of which may bring a `Doc`. msgspec makes
the schemas of its types; a field's description is the line `field: meaning` in the docstring of its
struct, as with the keys of the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.errors import StartError
from gateway.gateway import Doc, Endpoint
from gateway.schema import meanings_in

# Of the API, not of the program: it rises when something in the core's own part changes or goes.
VERSION: Final = "1"
# What an operation may be named in a path item (OpenAPI 3.1.1 section 4.8.9.1).
_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
# A place in a path, in aiohttp's form: `{id}`, or `{id:[0-9a-f]+}`.
_PLACE: Final = re.compile(r"\{(\w+)(?::(?:[^{}]|\{[^{}]*\})*)?\}")
_REF: Final = "#/components/schemas/{name}"
_TOKEN: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "The admin token: admin.token in the state directory.",
}
_NULL: Final = {"type": "null"}


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The document of these endpoints. StartError where a schema cannot be made."""
    served = list(endpoints)
    schemas = _Schemas(endpoint.doc for endpoint in served if endpoint.doc is not None)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in served:
        item = paths.setdefault(_PLACE.sub(r"{\1}", endpoint.path), {})
        for method in _METHODS if endpoint.method == "*" else (endpoint.method.lower(),):
            if method in _METHODS:
                item[method] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Weir admin API", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"adminToken": _TOKEN},
        },
    }


class _Schemas:
    """The schemas of all types that docs name. components: those that stand by their name."""

    def __init__(self, docs: Iterable[Doc]) -> None:
        docs = list(docs)
        types = list(dict.fromkeys(type_ for doc in docs for type_ in _types(doc)))
        queries = list(dict.fromkeys(doc.query for doc in docs if doc.query is not None))
        self.components: dict[str, dict[str, Any]]
        try:
            made, self.components = msgspec.json.schema_components(
                [*types, *queries], ref_template=_REF
            )
        except TypeError as error:
            raise StartError(
                f"the admin API's document cannot be made: {str(error).splitlines()[-1]}; see the "
                "`doc` of the plugins' endpoints"
            ) from error
        self._schemas = dict(zip([*types, *queries], made, strict=True))
        for component in self.components.values():
            _describe(component)
        # A query is written as its parameters and not as an object.
        self._queries = {
            type_: self.components.pop(self._name_of(type_))
            for type_ in queries
            if type_ not in types
        }

    def of(self, type_: Any) -> dict[str, Any]:
        return self._schemas[type_]

    def query(self, type_: type[msgspec.Struct]) -> dict[str, Any]:
        """The schema of a query's struct itself."""
        return self._queries.get(type_) or self.components[self._name_of(type_)]

    def _name_of(self, type_: type[msgspec.Struct]) -> str:
        return str(self._schemas[type_]["$ref"]).rpartition("/")[2]


def _types(doc: Doc) -> Iterator[Any]:
    if doc.body is not None:
        yield doc.body
    for answer in doc.answers.values():
        if not isinstance(answer, tuple):
            yield answer


def _describe(component: dict[str, Any]) -> None:
    """Give each field its own part of the struct's docstring."""
    text = component.get("description", "")
    properties = component.get("properties", {})
    for name, meaning in meanings_in(text, properties).items():
        # Beside a $ref a description may stand since OpenAPI 3.1.
        properties[name] = {**properties[name], "description": meaning}
    if text:
        component["description"] = " ".join(text.strip().partition("\n\n")[0].split())


def _operation(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {}
    doc = endpoint.doc
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PLACE.findall(endpoint.path)
    ]
    responses: dict[str, Any] = {}
    if doc is not None:
        operation["summary"] = doc.summary
        if doc.query is not None:
            query = schemas.query(doc.query)
            parameters += _parameters(query)
            if "description" in query:
                operation["description"] = query["description"]
        if doc.body is not None:
            content = {"application/json": {"schema": schemas.of(doc.body)}}
            operation["requestBody"] = {"required": True, "content": content}
        for status, answer in doc.answers.items():
            responses[str(status)] = _response(status, _content(answer, schemas))
    if parameters:
        operation["parameters"] = parameters
    if endpoint.token:
        operation["security"] = [{"adminToken": []}]
        responses["401"] = _response(401, _content(("text/plain",), schemas))
    return {**operation, "responses": responses} if responses else operation


def _parameters(query: dict[str, Any]) -> Iterator[dict[str, Any]]:
    required = query.get("required", ())
    for name, field in query["properties"].items():
        schema = _without_null(field)
        meaning = schema.pop("description", None)
        parameter = {"name": name, "in": "query", "required": name in required, "schema": schema}
        yield parameter if meaning is None else {**parameter, "description": meaning}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query has no null: what may be None may be left out."""
    schema = dict(schema)
    if "default" in schema and schema["default"] is None:
        del schema["default"]
    members = [member for member in schema.pop("anyOf", ()) if member != _NULL]
    if len(members) == 1:
        return {**members[0], **schema}
    return {**schema, "anyOf": members} if members else schema


def _content(answer: Any, schemas: _Schemas) -> dict[str, Any]:
    if isinstance(answer, tuple):
        return {
            kind: {"schema": {} if kind == "application/json" else {"type": "string"}}
            for kind in answer
        }
    return {"application/json": {"schema": schemas.of(answer)}}


def _response(status: int, content: dict[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    return {**response, "content": content} if content else response
