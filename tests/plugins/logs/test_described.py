from __future__ import annotations

import msgspec
import pytest

from gateway import Endpoint
from gateway.openapi import document
from plugins.logs.described import DOCS
from plugins.logs.query import read
from plugins.logs.records import NUMBERS

OWN = {"all", "format", "bodies"}  # what the handlers read themselves
VALUES = {
    "since": "7d",
    "until": "1d",
    "order": "oldest",
    "limit": "5",
    "cursor": "0198a2b4-0000-7000-8000-000000000001",
    "min_cost": "0.01",
    "max_cost": "0.01",
}


def value(name: str) -> str:
    if name in VALUES:
        return VALUES[name]
    if name.startswith(("min_", "max_")):
        return "1" if name[4:] in NUMBERS else "1s"
    is_number = name in NUMBERS or name.endswith(".status")
    return "1" if is_number else "true"


@pytest.mark.parametrize("where", [where for where, doc in DOCS.items() if doc.query is not None])
def test_each_parameter_that_is_described_can_be_asked(where):
    query = DOCS[where].query
    assert query is not None
    names = [field.encode_name for field in msgspec.structs.fields(query)]
    for name in set(names) - OWN:
        read([(name, value(name))], 1_764_000_000_000)
    assert {"model", "attempts.status", "min_cost", "max_duration_us"} <= set(names)


async def _none(_: object) -> None:
    pass


def test_the_admin_apis_document_can_be_made_of_it():
    made = document(
        Endpoint(method, path, _none, doc=doc)  # type: ignore[arg-type]
        for (method, path), doc in DOCS.items()
    )
    operation = made["paths"]["/api/logs"]["get"]
    (since,) = [each for each in operation["parameters"] if each["name"] == "since"]
    assert since["description"].startswith("From then on")
    row = made["components"]["schemas"]["LogEntry"]["properties"]
    assert row["started_at"]["description"] == "In UTC, to the millisecond."
    assert set(made["paths"]["/api/logs/{id}"]) == {"get", "patch", "delete"}
