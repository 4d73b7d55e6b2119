"""The admin API's document: valid by the standard, whole, and true of what is answered."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from hashlib import sha256
from typing import Annotated, Any, Literal

import msgspec
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from gateway import Doc, Endpoint, StartError
from gateway.cli.registry import bundled
from gateway.openapi import document
from gateway.order import sorted_names
from gateway.testing import RunningGateway, running_gateway

# -- made of docs ----------------------------------------------------------------------------------


class Query(msgspec.Struct):
    """Chooses some.

    limit: At most
        so many.
    order: Which first.
    """

    id: str
    limit: Annotated[int, msgspec.Meta(ge=1)] = 50
    order: Literal["newest", "oldest"] | None = None
    whole: bool = False


class Part(msgspec.Struct):
    name: str


class Whole(msgspec.Struct):
    """A thing.

    It has a second paragraph.

    parts: What it is of.
    first: The best of them.
    """

    parts: list[Part]
    first: Part
    note: str | msgspec.UnsetType = msgspec.UNSET


async def page(request):
    raise NotImplementedError


def of(*endpoints: Endpoint) -> dict[str, Any]:
    """Make the document; it is always a valid one."""
    made = document(endpoints)
    validate(made)
    return made


def operation(method: str, path: str, doc: Doc | None = None, *, token: bool = True) -> Any:
    [item] = of(Endpoint(method, path, page, token=token, doc=doc))["paths"].values()
    [made] = item.values()
    return made


def test_without_a_doc_an_endpoint_has_its_method_its_path_and_its_token():
    paths = of(Endpoint("PUT", "/api/x", page), Endpoint("GET", "/open", page, token=False))[
        "paths"
    ]

    assert list(paths) == ["/api/x", "/open"]
    assert list(paths["/api/x"]) == ["put"]
    assert paths["/api/x"]["put"]["security"] == [{"adminToken": []}]
    assert list(paths["/api/x"]["put"]["responses"]) == ["401"]
    assert paths["/open"] == {"get": {}}


def test_methods_of_a_path_stand_together():
    paths = of(Endpoint("GET", "/x", page), Endpoint("DELETE", "/x", page))["paths"]

    assert [(path, list(item)) for path, item in paths.items()] == [("/x", ["get", "delete"])]


def test_any_method_is_every_one_and_one_that_openapi_has_not_is_left_out():
    paths = of(Endpoint("*", "/x", page), Endpoint("PURGE", "/y", page))["paths"]

    assert {"get", "post", "patch", "trace"} < set(paths["/x"])
    assert paths["/y"] == {}


@pytest.mark.parametrize(
    ("path", "shown", "names"),
    [
        ("/x/{id}", "/x/{id}", ["id"]),
        ("/x/{id:[0-9a-f]{8}}/{part}", "/x/{id}/{part}", ["id", "part"]),
        ("/x/{rest:.*}", "/x/{rest}", ["rest"]),
    ],
)
def test_places_in_a_path_are_parameters(path, shown, names):
    paths = of(Endpoint("GET", path, page))["paths"]

    assert list(paths) == [shown]
    assert paths[shown]["get"]["parameters"] == [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]


def test_a_query_is_its_parameters_with_types_defaults_and_meanings():
    made = of(Endpoint("GET", "/x", page, doc=Doc("Find.", query=Query, answers={})))
    found = made["paths"]["/x"]["get"]

    assert (found["summary"], found["description"]) == ("Find.", "Chooses some.")
    assert [each.pop("in") for each in found["parameters"]] == ["query"] * 4
    assert found["parameters"] == [
        {"name": "id", "required": True, "schema": {"type": "string"}},
        {
            "name": "limit",
            "required": False,
            "schema": {"type": "integer", "minimum": 1, "default": 50},
            "description": "At most so many.",
        },
        {
            "name": "order",
            "required": False,
            "schema": {"enum": ["newest", "oldest"]},
            "description": "Which first.",
        },
        {"name": "whole", "required": False, "schema": {"type": "boolean", "default": False}},
    ]
    assert made["components"]["schemas"] == {}


def test_answers_are_json_by_their_type_or_whatever_media_type():
    answers: Any = {200: list[Whole], 202: ("text/csv", "application/json"), 204: ()}
    made = of(Endpoint("GET", "/x", page, doc=Doc("Find.", answers=answers)))
    found = made["paths"]["/x"]["get"]["responses"]

    items = {"$ref": "#/components/schemas/Whole"}
    json_schema = {"schema": {"type": "array", "items": items}}
    assert found["200"] == {"description": "OK", "content": {"application/json": json_schema}}
    any_json: Any = {"application/json": {"schema": {}}}
    assert found["202"]["content"] == {"text/csv": {"schema": {"type": "string"}}, **any_json}
    assert found["204"] == {"description": "No Content"}
    assert sorted(made["components"]["schemas"]) == ["Part", "Whole"]


def test_a_structs_docstring_is_dealt_out_to_its_fields():
    made = of(Endpoint("GET", "/x", page, doc=Doc("Find.", answers={200: Whole})))
    found = made["components"]["schemas"]["Whole"]

    assert found["description"] == "A thing."
    assert found["properties"]["parts"]["description"] == "What it is of."
    assert found["properties"]["first"]["description"] == "The best of them."
    assert found["properties"]["note"] == {"type": "string"}
    assert found["required"] == ["parts", "first"]


def test_a_body_is_json_and_required():
    found = operation("POST", "/x", Doc("Make.", body=Part, answers={}))["requestBody"]

    schema = {"$ref": "#/components/schemas/Part"}
    assert found == {"required": True, "content": {"application/json": {"schema": schema}}}


def test_a_struct_that_is_query_and_body_stands_by_its_name_too():
    made = of(Endpoint("POST", "/x", page, doc=Doc("Do.", query=Part, body=Part, answers={})))

    assert list(made["components"]["schemas"]) == ["Part"]
    assert [each["name"] for each in made["paths"]["/x"]["post"]["parameters"]] == ["name"]


def test_only_what_asks_for_the_token_can_refuse_it():
    doc = Doc("Find.", answers={200: Part})

    assert list(operation("GET", "/x", doc)["responses"]) == ["200", "401"]
    assert list(operation("GET", "/x", doc, token=False)["responses"]) == ["200"]
    assert "security" not in operation("GET", "/x", doc, token=False)


def test_two_structs_of_one_name_are_told_apart():
    other = msgspec.defstruct("Part", [("size", int)], module="elsewhere")
    made = of(Endpoint("GET", "/x", page, doc=Doc("Find.", answers={200: Part, 202: other})))
    found = made["paths"]["/x"]["get"]["responses"]
    refs = [
        found[status]["content"]["application/json"]["schema"]["$ref"] for status in ("200", "202")
    ]
    schemas = [made["components"]["schemas"][ref.rpartition("/")[2]] for ref in refs]

    assert [list(schema["properties"]) for schema in schemas] == [["name"], ["size"]]


def test_a_type_without_a_schema_stops_the_start_and_is_named():
    doc = Doc("Find.", answers={200: Endpoint})

    with pytest.raises(StartError, match=r"document cannot be made: .*Endpoint.* is not supported"):
        document([Endpoint("GET", "/x", page, doc=doc)])


# -- of a gateway with all that there is -----------------------------------------------------------

# What is served, by the word of the server itself and not of the document.
ROUTES = """
from aiohttp import web
from gateway import Endpoint, hookimpl

class Plugin:
    def __init__(self, config): pass

    @hookimpl
    def endpoints(self, gateway):
        async def routes(request):
            found = request.app.router.routes()
            return web.json_response([[r.method.lower(), r.resource.canonical] for r in found])

        return [Endpoint("GET", "/api/routes", routes)]
"""
PATH = "/api/openapi.json"
USAGE = "/api/usage"
LOGS = "/api/logs"
ROW = f"{LOGS}/{{id}}"
KEYS, TEAMS, CHANGES = "/api/keys", "/api/teams", "/api/key-changes"
KEY, TEAM = f"{KEYS}/{{id}}", f"{TEAMS}/{{name}}"
ALL = "gateway,key,team,user,provider,model,outcome"


class Api:
    """The admin API of a running gateway, with its document."""

    def __init__(self, gateway: RunningGateway, config: dict[str, Any]) -> None:
        self.gateway = gateway
        self.config = config
        self.row = ""  # the id of the one exchange
        _, _, body = self.ask("GET", PATH)
        self.document = json.loads(body)

    def ask(
        self, method: str, target: str, body: Any = None, *, token: str | None = None
    ) -> tuple[int, str, bytes]:
        """Give status, content type and body."""
        url = self.gateway.admin_url + target
        data = None if body is None else json.dumps(body).encode()
        fields = {"Authorization": f"Bearer {token or self.gateway.admin_token}"}
        request = urllib.request.Request(url, data, fields, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                kind = answer.headers.get_content_type()
                endless = kind == "text/event-stream"
                return answer.status, kind, b"" if endless else answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers.get_content_type(), error.read()

    def target(self, path: str) -> str:
        """A path with what stands for its parts."""
        id_ = "k1" if path.startswith(KEYS) else self.row
        return path.replace("{id}", id_).replace("{name}", "red")

    @property
    def operations(self) -> set[tuple[str, str]]:
        paths = self.document["paths"]
        return {(method, path) for path, item in paths.items() for method in item}

    def hold(self, method: str, path: str, status: int, kind: str, body: bytes) -> None:
        """Fail where an answer is not what the document says."""
        responses = self.document["paths"][path][method]["responses"]
        assert str(status) in responses, (method, path, status, body)
        content = responses[str(status)]["content"]
        assert kind in content, (method, path, status, kind)
        if kind == "application/json":
            root = {**content[kind]["schema"], "components": closed(self.document["components"])}
            OAS31Validator(root).validate(json.loads(body))


def closed(components: dict[str, Any]) -> dict[str, Any]:
    """Components in which an object has the fields that are written, and no others."""
    schemas = {
        name: schema
        if "properties" not in schema or name in OPEN
        else {**schema, "additionalProperties": False}
        for name, schema in components["schemas"].items()
    }
    return {"schemas": schemas}


# Whose docstring says that there are more fields.
OPEN = {"LogEntry"}
RULES = [
    {"name": "day", "scope": ["gateway", "provider"], "limit": "1M tokens/day"},
    {"name": "hour", "scope": "gateway", "limit": "0 USD/hour", "window": "rolling", "hard": False},
]


@pytest.fixture(scope="module")
def enabled() -> list[str]:
    """All but one that does not start without an issuer, and has no endpoints."""
    return [name for name in sorted_names(bundled()) if name != "jwt"]


@pytest.fixture(scope="module")
def api(enabled, tmp_path_factory) -> Iterator[Api]:
    routes = tmp_path_factory.mktemp("plugins") / "routes.py"
    routes.write_text(ROUTES)
    config = {
        "enabled": enabled,
        "plugins": {
            "api_keys": {"keys": [{"name": "k", "hash": sha256(b"a key").hexdigest()}]},
            "budget": {"rules": RULES},
            "mock": {"token_interval": "0ms"},
            "logs": {"payload": True},
        },
    }
    with running_gateway(config, plugins=[routes]) as gateway:
        found = Api(gateway, {**config, "enabled": [*enabled, str(routes)]})
        spend(found)
        yield found


def spend(api: Api) -> None:
    """Have something to tell of: one exchange."""
    url = f"{api.gateway.url}/mock/v1/chat/completions"
    body = json.dumps({"model": "mock", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    fields = {"Content-Type": "application/json", "Authorization": "Bearer a key"}
    urllib.request.urlopen(urllib.request.Request(url, body, fields), timeout=10).close()
    due = time.monotonic() + 10
    while not (rows_of(api, USAGE) and rows_of(api, LOGS)):
        assert time.monotonic() < due, api.gateway.quoted()
        time.sleep(0.05)
    api.row = rows_of(api, LOGS)[0]["id"]


def rows_of(api: Api, path: str) -> list[dict[str, Any]]:
    return json.loads(api.ask("GET", path)[2])["rows"]


def test_the_document_is_valid_and_wants_the_token(api):
    validate(api.document)

    assert api.ask("GET", PATH)[1] == "application/json"
    assert api.ask("GET", PATH, token="no")[0] == 401


def test_every_route_stands_in_the_document_and_no_other(api):
    _, _, body = api.ask("GET", "/api/routes")
    served = {(method, path) for method, path in json.loads(body) if method != "head"}

    assert ("get", "/api/usage") in served
    assert api.operations == served


def test_every_endpoint_of_ours_is_described(api):
    bare = [
        (method, path)
        for method, path in sorted(api.operations - {("get", "/api/routes")})
        if "summary" not in api.document["paths"][path][method]
    ]

    assert bare == []


def test_nothing_is_shown_by_an_example_and_no_secret_at_all(api):
    assert '"example' not in json.dumps(api.document)
    assert api.gateway.admin_token not in json.dumps(api.document)


def test_several_workers_have_the_document_of_one(api):
    config = {"enabled": ["usage", "ledger"], "server": {"workers": 2}}
    with running_gateway(config) as gateway:
        found = Api(gateway, config).document["paths"]

    assert USAGE in found
    assert found == {path: api.document["paths"][path] for path in found}


# Method, path in the document, what is asked for, body, status.
ASKED: tuple[tuple[str, str, str, Any, int], ...] = (
    ("get", "/livez", "", None, 200),
    ("get", "/readyz", "", None, 200),
    ("get", "/healthz", "", None, 200),
    ("get", PATH, "", None, 200),
    ("post", "/api/log", "", {"level": "info"}, 200),
    ("post", "/api/log", "", {"level": "loud"}, 400),
    ("post", "/api/reload", "", None, 200),
    ("get", USAGE, "", None, 200),
    ("get", USAGE, f"?by={ALL}&step=day&since=7d&until=2100-01-01", None, 200),
    ("get", USAGE, "?step=week", None, 400),
    ("get", USAGE, "?since=soon", None, 400),
    ("get", "/api/budgets", "", None, 200),
    ("get", LOGS, "", None, 200),
    ("get", LOGS, "?model=mock&search=Hi&limit=1", None, 200),
    ("get", LOGS, "?limit=x", None, 400),
    ("get", f"{LOGS}/export", "", None, 200),
    ("get", f"{LOGS}/export", "?format=csv&bodies=true", None, 200),
    ("get", f"{LOGS}/export", "?format=xml", None, 400),
    ("get", f"{LOGS}/tail", "", None, 200),
    ("get", f"{LOGS}/tail", "?limit=1", None, 400),
    ("get", ROW, "", None, 200),
    ("get", f"{ROW}/request", "", None, 200),
    ("get", f"{ROW}/response", "", None, 200),
    ("patch", ROW, "", {"feedback": 1, "score": 0.5, "metadata": {"a": 1}}, 200),
    ("patch", ROW, "", {"feedback": 2}, 400),
    ("get", ROW, "", None, 200),
    ("delete", ROW, "", None, 200),
    ("delete", ROW, "", None, 404),
    ("patch", ROW, "", {"feedback": 1}, 404),
    ("get", ROW, "", None, 404),
    ("get", f"{ROW}/request", "", None, 404),
    ("delete", LOGS, "", None, 400),
    ("delete", LOGS, "?all=true", None, 200),
    ("post", TEAMS, "", {"name": "red", "rate_limits": ["50/min"]}, 201),
    ("post", TEAMS, "", {"name": "red", "rate_limits": ["50/min"]}, 200),
    ("post", TEAMS, "", {"name": "red", "rate": "50/min"}, 400),
    ("get", TEAMS, "?limit=1", None, 200),
    ("get", TEAM, "", None, 200),
    ("patch", TEAM, "", {"models": ["gpt-5*"]}, 200),
    ("post", KEYS, "", {"id": "k1", "name": "a", "team": "red", "metadata": {"a": 1}}, 201),
    ("post", KEYS, "", {"name": "a", "teem": "red"}, 400),
    ("get", KEYS, "", None, 200),
    ("get", KEYS, "?limit=x", None, 400),
    ("get", KEY, "", None, 200),
    ("patch", KEY, "", {"expires": "2100-01-01"}, 200),
    ("patch", KEY, "", {"expires": "soon"}, 400),
    ("post", f"{KEY}/rotate", "", {"grace": "1h"}, 200),
    ("post", f"{KEY}/revoke", "", None, 200),
    ("delete", TEAM, "", None, 409),
    ("delete", KEY, "", None, 200),
    ("delete", KEY, "", None, 404),
    ("delete", TEAM, "", None, 200),
    ("get", TEAM, "", None, 404),
    ("get", CHANGES, "", None, 200),
)


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: f"{asked[0]}-{asked[1]}-{asked[4]}")
def test_what_is_answered_is_what_the_document_says(api, asked):
    method, path, query, body, status = asked
    found, kind, text = api.ask(method.upper(), api.target(path) + query, body)

    assert found == status, text
    api.hold(method, path, status, kind, text)


def test_a_refused_token_is_in_the_document(api):
    for method, path in api.operations:
        if path.startswith("/api/"):
            status, kind, text = api.ask(method.upper(), api.target(path), token="no")
            api.hold(method, path, status, kind, text)
            assert status == 401


def test_every_endpoint_of_ours_is_asked(api):
    assert api.operations - {("get", "/api/routes")} == {asked[:2] for asked in ASKED}


def test_usage_and_budgets_have_something_to_tell(api):
    """Or their answers would fit any schema."""
    _, _, usage = api.ask("GET", f"{USAGE}?by={ALL}&step=day")
    _, _, budgets = api.ask("GET", "/api/budgets")

    assert {"time", "model", "cost_nanousd"} < set(json.loads(usage)["rows"][0])
    assert [len(rule["subjects"]) for rule in json.loads(budgets)["rules"]] == [1, 0]


def test_a_reload_that_fails_answers_as_the_document_says(api):
    api.gateway.write_config({"limits": {"atempts_max": 3}})
    status, kind, text = api.ask("POST", "/api/reload")
    api.gateway.write_config(api.config)

    assert status == 400
    api.hold("post", "/api/reload", status, kind, text)
