"""Answers of a stated form: the JSON Schema that a model is held to, and reading what it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import polars as pl

from sage_common.errors import UnprocessableError

_JSON_TYPES: Mapping[type[pl.DataType], str] = {pl.String: "string", pl.Boolean: "boolean"}
_SHOWN_CHARACTERS = 200


def json_schema_of(fields: Mapping[str, pl.DataType]) -> dict[str, Any]:
    """Return the JSON Schema of a record with exactly these fields."""
    return {
        "type": "object",
        "properties": {name: _schema(dtype) for name, dtype in fields.items()},
        "required": list(fields),
        "additionalProperties": False,
    }


def _schema(dtype: pl.DataType) -> dict[str, Any]:
    if isinstance(dtype, pl.List | pl.Array):
        return {"type": "array", "items": _schema(dtype.inner)}  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        return json_schema_of({field.name: field.dtype for field in dtype.fields})  # type: ignore[misc]
    if isinstance(dtype, pl.Enum):
        return {"type": "string", "enum": dtype.categories.to_list()}
    if dtype.is_integer():
        return {"type": "integer"}
    if dtype.is_numeric():
        return {"type": "number"}
    if isinstance(dtype, pl.Datetime):
        return {"type": "string", "format": "date-time"}
    if isinstance(dtype, pl.Date):
        return {"type": "string", "format": "date"}
    return {"type": _JSON_TYPES.get(type(dtype), "string")}


class AnswerForm:
    """What an answer has to be.

    Attributes:
        schema: its JSON Schema.
        instruction: tells a model about it, in words.
    """

    def __init__(self, fields: Mapping[str, pl.DataType]) -> None:
        # Imported here: it takes as long as all of this package, and few pipelines need it.
        import jsonschema

        self._best_match = jsonschema.exceptions.best_match
        self.schema = json_schema_of(fields)
        self._validator = jsonschema.Draft202012Validator(self.schema)
        form = orjson.dumps(self.schema).decode()
        self.instruction = f"Answer with one JSON object and nothing else. It has this JSON Schema: {form}"

    def read(self, text: str) -> dict[str, Any]:
        """Return the object that ``text`` is; a code fence or words around it are taken away.

        Raises:
            UnprocessableError: it is no such object; the message says why, for the model to read.
        """
        body = _without_frame(text)
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise UnprocessableError(f"it is not JSON ({error}): {text[:_SHOWN_CHARACTERS]!r}") from None
        problem = self._best_match(self._validator.iter_errors(value))
        if problem is not None:
            place = "/".join(str(part) for part in problem.absolute_path) or "the object"
            raise UnprocessableError(f"{place}: {problem.message[:_SHOWN_CHARACTERS]}")
        answer: dict[str, Any] = value
        return answer


def _without_frame(text: str) -> str:
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text


def column_of(name: str, dtype: pl.DataType, values: list[Any]) -> pl.Series:
    """Return JSON values as a column. Raises UnprocessableError for one that is not of this type."""
    try:
        if isinstance(dtype, pl.Datetime):
            return pl.Series(name, values, dtype=pl.String).str.to_datetime(time_unit="us", time_zone="UTC")
        if isinstance(dtype, pl.Date):
            return pl.Series(name, values, dtype=pl.String).str.to_date()
        # Polars makes a column of text from its class in half the time that it takes from an instance.
        return pl.Series(name, values, dtype=pl.String if isinstance(dtype, pl.String) else dtype)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:_SHOWN_CHARACTERS]
        raise UnprocessableError(f"field {name!r} of the answer is no {dtype}: {reason}") from None
