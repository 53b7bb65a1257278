"""SQL scalars over the fields of one record, read and typed by polars before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import polars as pl

from sage_common.errors import UnprocessableError
from sage_kernel.schema import TIMESTAMP
from sage_kernel.sql_text import ExpressionError, checked
from sage_kernel.stream_type import NodeProblems, StreamType

# Of an expression's form inside polars: what typing costs grows with its square.
MAX_SIZE = 100_000
# What has no place in a scalar. Polars writes these as keys of the expression's JSON form, where no text of a user has
# unescaped quotes.
_NOT_SCALAR = ('"SubPlan":', '"Agg":', '"Explode":', '"Over":', '"Selector":', '"Filter":', '"Gather":', '"Len"')


# A panic in polars' Rust is no Exception of Python's.
_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)


class Expression(NamedTuple):
    """A parsed scalar: ``fields`` are the top-level fields that it reads, ``size`` what it costs to work with."""

    expr: pl.Expr
    fields: tuple[str, ...]
    size: int


@lru_cache(maxsize=256)
def parse(sql: str) -> Expression:
    """Read a SQL scalar. The last ones are remembered: a task types its expressions twice, and builds them.

    Raises:
        ExpressionError: it is none, or it is more than a scalar of one record.
    """
    text = checked(sql)
    try:
        expr = pl.sql_expr(text)
    except (*_ERRORS, OSError, ValueError, TypeError) as error:
        raise ExpressionError(f"it is no SQL scalar: {_first_line(error)}", "correct it") from None
    if not isinstance(expr, pl.Expr):
        raise ExpressionError("it is more than one expression", "write one scalar")
    form = expr.meta.serialize(format="json")
    if any(mark in form for mark in _NOT_SCALAR):
        raise ExpressionError("it is not a scalar of one record", "use a join, flat_map or aggregate node")
    if len(form) > MAX_SIZE:
        raise ExpressionError("it is too complex", "spread it over several maps", cost=_cost(len(form)))
    return Expression(expr.meta.undo_aliases(), tuple(dict.fromkeys(expr.meta.root_names())), len(form))


def type_of(expression: Expression, fields: Mapping[str, pl.DataType]) -> pl.DataType:
    """Return the type of the result, with integers and floats at their full width.

    Args:
        fields: types of the record's fields, among them all that the expression reads.

    Raises:
        ExpressionError: the types do not fit together.
    """
    frame = pl.LazyFrame(schema={name: fields[name] for name in expression.fields})
    try:
        dtype = frame.select(expression.expr.alias("result")).collect_schema()["result"]
    except pl.exceptions.StructFieldNotFoundError as error:
        raise ExpressionError(
            f"there is no {_first_line(error)!r} in the record that it looks into", "correct it"
        ) from None
    except _ERRORS as error:
        raise ExpressionError(f"its types do not fit: {_first_line(error)}", "correct it, or CAST a field") from None
    return _whole(dtype)


def expression_type(sql: str, parameter: str, stream: StreamType, problems: NodeProblems) -> pl.DataType | None:
    """Return the type of a scalar over the records of ``stream``, and report what is wrong with it.

    Returns:
        None where it is wrong, and where it reads a field that only the opened source will tell.
    """
    if problems.effort.is_spent:
        return None  # which has been said
    try:
        expression = parse(sql)
        missing = [name for name in expression.fields if name not in stream.fields]
        for name in missing:
            problems.missing(parameter, name, stream)
        if missing or not problems.afford(_cost(expression.size), parameter):
            return None
        return type_of(expression, stream.fields)
    except ExpressionError as error:
        if problems.afford(error.cost, parameter):
            problems.add(parameter, f"{_shown(sql)}: {error.message}", error.remedy)
        return None


def scalar(sql: str) -> pl.Expr:
    """Return the expression of a text. Raises ExpressionError where it is no scalar of one record."""
    return parse(sql).expr


def evaluated(sql: str, dtype: pl.DataType | None) -> pl.Expr:
    """Return the expression of a text without problems, cast to the type that inference has given it."""
    expr = parse(sql).expr
    return expr if dtype is None else expr.cast(dtype)


@contextmanager
def explained() -> Iterator[None]:
    """Turn what polars raises about values into a short UnprocessableError."""
    try:
        yield
    except _ERRORS as error:
        raise UnprocessableError(_first_line(error)) from None


def _cost(size: int) -> int:
    """Return about how many microseconds it takes to read and type an expression of this size, at most."""
    return 200 + size // 10 + size * size // 100_000


def _whole(dtype: pl.DataType) -> pl.DataType:
    if dtype.is_integer():
        return pl.Int64()
    if isinstance(dtype, pl.Datetime):
        return TIMESTAMP if dtype.time_zone in (None, "UTC") else dtype
    if isinstance(dtype, pl.Decimal):
        # What SQL makes of a number such as 0.5; JSON has no form for it.
        return pl.Float64()
    if isinstance(dtype, pl.Duration):
        return pl.Duration("us")
    return dtype


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _shown(sql: str) -> str:
    short = " ".join(sql.split())
    return repr(short if len(short) <= 60 else f"{short[:59]}…")
