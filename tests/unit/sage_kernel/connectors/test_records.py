from __future__ import annotations

from datetime import datetime, timezone

import polars as pl
import pytest

from sage_kernel.connectors.conform import Conformer
from sage_kernel.connectors.records import frame_of
from sage_kernel.schema import parse_schema


def test_a_field_that_a_record_lacks_is_null_there() -> None:
    frame = frame_of([{"a": 1}, {"b": "x", "a": 2.5}])
    assert frame.to_dicts() == [{"a": 1.0, "b": None}, {"a": 2.5, "b": "x"}]


@pytest.mark.parametrize("values", [(1, "x"), ("x", 1), (True, 1), ([1], "x"), ({"a": 1}, [1])])
def test_a_field_of_two_kinds_is_refused_by_its_name(values: tuple[object, object]) -> None:
    with pytest.raises(ValueError, match="field 'f' is a"):
        frame_of([{"f": values[0]}, {"f": None}, {"f": values[1]}])


def test_records_are_cast_to_a_stated_schema() -> None:
    conformer = Conformer(parse_schema({"at": "timestamp", "n": "float", "gone": "string"}))
    frame = frame_of([{"at": "2024-05-01T12:00:00Z", "n": 1, "more": 1}], conformer)
    assert frame.to_dicts() == [{"at": datetime(2024, 5, 1, 12, tzinfo=timezone.utc), "n": 1.0, "gone": None}]
    with pytest.raises(ValueError, match="'at'"):
        frame_of([{"at": "yesterday"}], conformer)
    assert frame_of([], conformer).schema["n"] == pl.Float64
