"""What the admin API's endpoints share: how a query is read, and the answer to what cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from gateway.convert import nearest, shown, wanted

T = TypeVar("T", bound=msgspec.Struct)


class ErrorAnswer(msgspec.Struct, frozen=True):
    """What is wrong.

    error: In a sentence, with the way out where there is one.
    """

    error: str


def read_query(type_: type[T], given: Mapping[str, str]) -> T:
    """The parameters of a query as a struct. ValueError says which one is wrong, and what may stand
    there.
    """
    fields = {field.encode_name: field for field in msgspec.structs.fields(type_)}
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in fields:
            near = nearest(name, fields)
            hint = f"did you mean {near}?" if near else f"wanted some of {', '.join(fields)}"
            raise ValueError(f"{name}: there is no such parameter; {hint}")
        field = fields[name]
        try:
            values[field.name] = msgspec.convert(text, field.type, strict=False)
        except msgspec.ValidationError:
            raise ValueError(f"{name}: wanted {wanted(field.type)}, given {shown(text)}") from None
    missing = [name for name, field in fields.items() if field.required and name not in given]
    if missing:
        raise ValueError(f"{missing[0]}: missing; wanted {wanted(fields[missing[0]].type)}")
    return type_(**values)
