from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, TypedDict

import pytest
from pydantic import BaseModel, Field

from sage_common.errors import InvalidRequestError
from sage_kernel.record_classes import is_record_class, schema_of
from sage_kernel.schema import parse_schema


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Person:
    name: str
    age: int | None = None


class Ticket(BaseModel):
    kind: ClassVar[str] = "ticket"

    id: uuid.UUID
    ts: datetime
    text: Annotated[str, Field(min_length=1)]
    tags: list[str]
    urgency: Literal[1, 2, 3]
    colour: Colour
    owner: Person
    score: float | None = None
    vector: tuple[float, ...] = ()


class Small(TypedDict):
    yes: bool


class Endless(BaseModel):
    inner: Endless | None


def test_a_class_says_which_fields_a_record_has() -> None:
    schema = schema_of(Ticket)
    assert schema == {
        "id": "string",
        "ts": "timestamp",
        "text": "string",
        "tags": ["string"],
        "urgency": "int",
        "colour": "string",
        "owner": {"name": "string", "age": "int"},
        "score": "float",
        "vector": ["float"],
    }
    parse_schema(schema)
    assert schema_of(Small) == {"yes": "bool"}


def test_only_classes_of_records_are_taken_for_such() -> None:
    assert [is_record_class(value) for value in (Ticket, Person, Small)] == [True] * 3
    assert [is_record_class(value) for value in (str, 1, {"a": "int"}, Ticket.model_json_schema)] == [False] * 4


@pytest.mark.parametrize("hint", [Any, int | str, Literal[1, "a"], dict[str, int], complex, list])
def test_a_type_without_a_form_is_named(hint: Any) -> None:
    record_class = type("Odd", (), {"__annotations__": {"field": hint}})
    with pytest.raises(InvalidRequestError, match=r"Odd\.field"):
        schema_of(record_class)


def test_a_class_that_holds_itself_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="holds itself"):
        schema_of(Endless)
