"""Functions of users inside operators: named by ``ref``, or given in Python for a run in this process."""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import polars as pl
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from sage_common.errors import UnprocessableError
from sage_kernel.foreign_errors import contained
from sage_kernel.functions import REF_PATTERN, FunctionRegistry, is_reference
from sage_kernel.operator import StatelessAsyncOperator

# Of a call: a function may make many records of one.
BATCH_RECORDS = 1024


def _read(value: Any) -> Any:
    if callable(value) or (isinstance(value, str) and is_reference(value)):
        return value
    raise ValueError(f"{str(value)[:80]!r} names no function; write package.module:name")


def _write(value: Any) -> str:
    return value if isinstance(value, str) else local_name(value)


FunctionRef: TypeAlias = Annotated[
    Any,
    BeforeValidator(_read),
    PlainSerializer(_write, return_type=str),
    WithJsonSchema({"type": "string", "pattern": REF_PATTERN}),
]
"""``package.module:name``, or in Python the function itself."""


def local_name(function: Callable[..., Any]) -> str:
    """Return a name for a function without one, the same as long as its code is: it goes into the spec's hash."""
    code = getattr(function, "__code__", None)
    content = code.co_code + repr(code.co_consts).encode() if code is not None else repr(function).encode()
    name = getattr(function, "__qualname__", type(function).__name__)
    return f"local:{name}:{hashlib.sha256(content).hexdigest()[:12]}"


def load(function: Any, functions: FunctionRegistry) -> Callable[..., Any]:
    """Return what a ``FunctionRef`` stands for. Raises as ``FunctionRegistry.load`` does."""
    if isinstance(function, str):
        return functions.load(function)
    given: Callable[..., Any] = function
    return given


class BatchFunction(StatelessAsyncOperator, ABC):
    """Base of asynchronous operators that call a user's function in a thread, once a batch."""

    def __init__(self, function: Callable[..., Any], batch_records: int = BATCH_RECORDS) -> None:
        self._function = function
        self._batch_records = batch_records

    @property
    def batch_records(self) -> int:
        """Most records that a call takes."""
        return self._batch_records

    async def process(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return what the function makes of the records."""
        return await asyncio.to_thread(contained, lambda: self.call(frame))

    @abstractmethod
    def call(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Call the function. Runs in a thread."""


def frame_of_results(results: Sequence[Mapping[str, Any]], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return what a function gave as a frame of its declared fields; one that it left out is null.

    Raises:
        UnprocessableError: a result is no record, has a field that ``out`` lacks, or a value of another type.
    """
    for result in results:
        if not isinstance(result, Mapping):
            raise UnprocessableError(f"the function gave {type(result).__name__}, expected a record (a dict)")
        if not result.keys() <= schema.keys():
            extra = sorted(map(str, result.keys() - schema.keys()))
            raise UnprocessableError(f"the function gave fields that 'out' lacks: {', '.join(extra)[:200]}; add them")
    try:
        return pl.DataFrame([dict(result) for result in results], schema=dict(schema), strict=True, orient="row")
    except (pl.exceptions.PolarsError, TypeError, OverflowError) as error:
        text = " ".join(str(error).split())[:200]
        raise UnprocessableError(f"what the function gave does not fit 'out': {text}") from None


def frame_of_batch(result: Any, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return the frame that a function of whole batches gave, with its declared fields alone, in their types.

    Raises:
        UnprocessableError: it is no frame, or does not fit ``out``.
    """
    if not isinstance(result, pl.DataFrame):
        raise UnprocessableError(f"the function gave {type(result).__name__}, expected a polars DataFrame")
    if missing := [name for name in schema if name not in result.columns]:
        raise UnprocessableError(f"the function's frame lacks {', '.join(missing)[:200]}, which 'out' promises")
    try:
        return result.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
    except pl.exceptions.PolarsError as error:
        text = " ".join(str(error).split())[:200]
        raise UnprocessableError(f"the function's frame does not fit 'out': {text}") from None


def records_of(result: Any) -> list[Mapping[str, Any]]:
    """Return the records that a function gave for one. Raises UnprocessableError where they are none."""
    if result is None:
        return []
    if isinstance(result, Mapping | str) or not isinstance(result, Iterable):
        raise UnprocessableError(f"the function gave {type(result).__name__}, expected a list of records")
    return list(result)
