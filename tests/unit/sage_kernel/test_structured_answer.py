from __future__ import annotations

import json
from datetime import datetime, timezone

import polars as pl
import pytest

from sage_common.errors import UnprocessableError
from sage_kernel.schema import parse_schema
from sage_kernel.structured_answer import AnswerForm, column_of

FIELDS = parse_schema(
    {"topic": "string", "urgency": "int", "tags": ["string"], "who": {"name": "string"}, "share": "float"}
)
GOOD = {"topic": "a", "urgency": 2, "tags": ["x"], "who": {"name": "B"}, "share": 0.5}


@pytest.mark.parametrize("frame", ["{}", "```json\n{}\n```", "Here it is: {} I hope it helps."])
def test_the_object_is_found_in_what_stands_around_it(frame: str) -> None:
    assert AnswerForm(FIELDS).read(frame.replace("{}", json.dumps(GOOD))) == GOOD


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I do not know.", "not JSON"),
        ('{"topic": ', "not JSON"),
        ("[1]", "the object"),
        (json.dumps({**GOOD, "urgency": "high"}), "urgency"),
        (json.dumps({**GOOD, "more": 1}), "more"),
        (json.dumps({**GOOD, "who": {}}), "who: 'name' is a required property"),
        (json.dumps({key: GOOD[key] for key in list(GOOD)[1:]}), "topic"),
    ],
)
def test_what_is_wrong_is_said_for_the_model_to_read(text: str, reason: str) -> None:
    with pytest.raises(UnprocessableError, match=reason):
        AnswerForm(FIELDS).read(text)


def test_times_become_times() -> None:
    dtype = parse_schema({"at": "timestamp"})["at"]
    column = column_of("at", dtype, ["2024-05-01T12:00:00Z", None])
    assert column.to_list() == [datetime(2024, 5, 1, 12, tzinfo=timezone.utc), None]
    with pytest.raises(UnprocessableError, match="'at'"):
        column_of("at", dtype, ["yesterday"])
    with pytest.raises(UnprocessableError, match="'n'"):
        column_of("n", pl.Int64(), [2**70])


def test_one_of_some_texts_is_an_enumeration() -> None:
    fields = parse_schema({"topic": "delivery|payment"})
    form = AnswerForm(fields)
    assert form.schema["properties"]["topic"] == {"type": "string", "enum": ["delivery", "payment"]}
    with pytest.raises(UnprocessableError, match="topic"):
        form.read('{"topic": "weather"}')
    assert column_of("topic", fields["topic"], ["payment", None]).to_list() == ["payment", None]
