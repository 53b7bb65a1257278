"""Schemas from Python classes: a Pydantic model, a dataclass or a TypedDict says which fields a record has."""

from __future__ import annotations

import datetime
import enum
import types
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal, NotRequired, Required, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from sage_common.errors import InvalidRequestError

_NAMES: Mapping[Any, str] = {
    str: "string",
    int: "int",
    float: "float",
    bool: "bool",
    bytes: "bytes",
    datetime.datetime: "timestamp",
    datetime.date: "date",
    datetime.timedelta: "duration",
}
_LISTS = (list, tuple, set, frozenset)
_MAX_DEPTH = 16


def is_record_class(value: Any) -> bool:
    """Whether ``value`` is a class of records."""
    return isinstance(value, type) and (
        issubclass(value, BaseModel) or is_dataclass(value) or hasattr(value, "__total__")
    )


def schema_of(record_class: type, depth: int = 0) -> dict[str, Any]:
    """Return the fields of a class with their types, as a pipeline writes them.

    ``X | None`` is ``X``, which may be null as every field may. A ``Literal`` or an enum is the type of its values.

    Raises:
        InvalidRequestError: a field's type has no form in a pipeline.
    """
    if depth > _MAX_DEPTH:
        raise InvalidRequestError(f"{record_class.__name__} holds itself; a record has no type without an end")
    return {
        name: _written(hint, f"{record_class.__name__}.{name}", depth)
        for name, hint in _hints(record_class).items()
        if not name.startswith("_") and "ClassVar" not in str(hint)
    }


def _hints(record_class: type) -> Mapping[str, Any]:
    if issubclass(record_class, BaseModel):
        # Pydantic has looked names up where the class was made.
        return {name: field.annotation for name, field in record_class.model_fields.items()}
    try:
        return get_type_hints(record_class, include_extras=True)
    except NameError as error:
        raise InvalidRequestError(
            f"a type of {record_class.__name__} cannot be looked up ({error}); define the class at the top of a module"
        ) from None


def _written(hint: Any, where: str, depth: int) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Annotated, Required, NotRequired):
        return _written(arguments[0], where, depth)
    if origin in (Union, types.UnionType):
        others = [argument for argument in arguments if argument is not types.NoneType]
        if len(others) == 1:
            return _written(others[0], where, depth)
    elif origin is Literal:
        return _of_values(arguments, where)
    elif origin in _LISTS and arguments:
        return [_written(arguments[0], where, depth)]
    elif isinstance(hint, type):
        if issubclass(hint, enum.Enum):
            return _of_values([member.value for member in hint], where)
        if is_record_class(hint):
            return schema_of(hint, depth + 1)
        for known, name in _NAMES.items():
            if hint is known:
                return name
        # UUIDs, URLs, paths and the like, which JSON carries as text.
        if hint.__module__ in ("uuid", "pathlib", "pydantic.networks", "ipaddress"):
            return "string"
    elif isinstance(hint, TypeVar):
        hint = hint.__name__
    raise InvalidRequestError(
        f"{where} has the type {hint}, which a record has no form for; use str, int, float, bool, bytes, datetime, "
        "date, timedelta, a list of one type, or another class of records"
    )


def _of_values(values: Any, where: str) -> str:
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) == 1 and (kind := kinds.pop()) in _NAMES:
        return _NAMES[kind]
    raise InvalidRequestError(f"the values of {where} have several types; give them one")
