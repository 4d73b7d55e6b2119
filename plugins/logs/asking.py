"""How a query is put to PostgreSQL.

A search looks at the first rows of its order one by one, and asks the index of words (GIN) only
where they do not suffice: the index knows nothing of order, and of a word that is in every row it
would give them all.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, Final

from gateway import id_at

from .records import Query
from .searching import asked_facts, asked_numbers, phrases

# How many rows are looked at without the index.
FIRST: Final = 2_000


class Asked:
    """A query as SQL.

    values: Those of $1, $2 and so on. conditions: All of them. order: Of rows.
    """

    def __init__(self, query: Query) -> None:
        self.values: list[Any] = []
        self._limit = int(query.limit)
        matches = [
            f"words @@ phraseto_tsquery('simple', {self._value(phrase)}::text)"
            for phrase in (phrases(query.text) if query.text else ())
        ]
        matches += [
            f"facts @@ {self._value(' | '.join(any_of))}::text::tsquery"
            for any_of in asked_facts(query)
        ]
        numbers = [
            f"{field} {sign} ANY({self._value(wanted)}::float8[])"
            for field, sign, wanted in asked_numbers(query)
        ]
        bounds = [
            f"logs.id {sign} {self._value(uuid.UUID(bytes=id_))}" for sign, id_ in _ids(query)
        ]
        self.order = "logs.id DESC" if query.newest_first else "logs.id"
        if query.arrived_after is not None:
            bounds.append(f"arrival > {self._value(query.arrived_after)}::bigint")
            self.order = "arrival"
        self.conditions = " AND ".join((*bounds, *matches, *numbers)) or "true"
        self._bounds = bounds
        self._is_by_index = bool(matches) and query.arrived_after is None

    def ways(self) -> Iterator[str]:
        """Statements that give the ids; a next one where the one before gave too few."""
        if not self._is_by_index:
            yield self._first_of(f"SELECT * FROM logs WHERE {self.conditions}")  # noqa: S608
            return
        bounds = " AND ".join(self._bounds) or "true"
        few = f"SELECT * FROM logs WHERE {bounds} ORDER BY {self.order} LIMIT {FIRST}"  # noqa: S608
        yield f"SELECT id FROM ({few}) AS logs WHERE {self.conditions} LIMIT {self._limit}"  # noqa: S608
        # OFFSET keeps the planner from walking in order, in the hope that what is rare comes soon.
        yield self._first_of(f"SELECT * FROM logs WHERE {self.conditions} OFFSET 0")  # noqa: S608

    def oldest(self) -> str:
        """A statement that gives the ids of the oldest."""
        self.order = "logs.id"
        return self._first_of(f"SELECT * FROM logs WHERE {self.conditions} OFFSET 0")  # noqa: S608

    def _first_of(self, rows: str) -> str:
        return f"SELECT id FROM ({rows}) AS logs ORDER BY {self.order} LIMIT {self._limit}"  # noqa: S608

    def _value(self, value: Any) -> str:
        self.values.append(value)
        return f"${len(self.values)}"

    def _id(self, id_: bytes) -> str:
        return self._value(uuid.UUID(bytes=id_))


def _ids(query: Query) -> Iterator[tuple[str, bytes]]:
    """Between which ids rows lie."""
    if query.id is not None:
        yield "=", query.id
    if query.since_ms > 0:
        yield ">=", id_at(query.since_ms)
    if query.until_ms is not None:
        yield "<", id_at(query.until_ms)
    if query.before is not None:
        yield "<", query.before
    if query.after is not None:
        yield ">", query.after
