"""The words of a SQL scalar, looked at before polars sees them.

Polars opens files while it parses a subquery, and copies operands so that a few words can stand for gigabytes. What
reaches it is therefore cut into words here first: only scalar functions of a list, no subquery, no window, no comment,
and a bounded number of everything.
"""

# ruff: noqa: SIM905 - lists of words are read as text.
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from sage_common.setting_table import nearest

MAX_CHARACTERS = 4_000
MAX_WORDS = 300
MAX_NESTING = 24
# Words whose operands polars copies: nested, each multiplies the size of the expression.
MAX_COPYING_WORDS = 8

FUNCTIONS = frozenset(
    """abs acos acosd asin asind atan atan2 atan2d atand cbrt ceil ceiling cos cosd cot cotd degrees div exp floor
    greatest least ln log log10 log1p log2 mod pi pow power radians round sign sin sind sqrt tan tand
    bit_and bit_count bit_not bit_or bit_xor coalesce if ifnull nullif cast try_cast
    bit_length char_length character_length concat concat_ws ends_with initcap left length lower ltrim normalize
    octet_length position regexp_like replace reverse right rtrim split_part starts_with strftime string_to_array
    strpos strptime substr substring trim upper date_part extract hour minute year
    array array_contains array_get array_length array_lower array_mean array_reverse array_sum array_to_string
    array_unique array_upper""".split()
)
_AGGREGATES = frozenset(
    """any_value array_agg avg corr count covar covar_pop covar_samp first last max mean median min mode quantile
    quantile_cont quantile_disc std stddev stddev_pop stddev_samp stdev string_agg sum total var var_pop var_samp
    variance""".split()
)
_TABLES = frozenset("read_csv read_parquet read_ipc read_json read_ndjson scan_csv scan_parquet unnest".split())
_CLOCKS = frozenset("now current_timestamp current_date current_time localtime localtimestamp".split())
# Operators and clauses that stand in front of a parenthesis, as in "a IN (1, 2)".
_BEFORE_PARENTHESIS = frozenset("and or not in between case when then else any all like ilike rlike is from by".split())
_REFUSED_WORDS = {
    **dict.fromkeys(("select", "exists", "union", "intersect", "except"), "a subquery"),
    **dict.fromkeys(("over", "partition", "qualify"), "a window function"),
}
_SUBQUERY_STARTS = frozenset(("with", "from", "values", "table"))
_COPYING = frozenset("between case left right split_part nullif position strpos substr substring atan2d".split())
# Of these polars makes small or unsigned integers, in which LENGTH(text) - 20 is four thousand million.
_NARROW = frozenset(
    "length char_length character_length octet_length bit_length bit_count position strpos array_length extract "
    "date_part hour minute year".split()
)
_TOKEN = re.compile(
    r"""\s+
    |(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*")
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)
    |(?P<sign>::|\|\||<=>|<>|<=|>=|!=|==|->>|->|//|!~\*|!~|~\*|[-+*/%=<>(),.\[\]~&|])""",
    re.VERBOSE,
)


class ExpressionError(ValueError):
    """A text is no SQL scalar; ``remedy`` says what to do, ``cost`` how many microseconds it took to find that out."""

    def __init__(self, message: str, remedy: str, *, cost: int = 500) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy
        self.cost = cost


class Word(NamedTuple):
    """A part of an expression: ``kind`` is text, quoted, word, number or sign; ``place`` counts characters from 1."""

    kind: str
    text: str
    place: int


@lru_cache(maxsize=256)
def checked(sql: str) -> str:
    """Return ``sql`` as polars may read it, with narrow integers widened to 64 bits.

    Raises:
        ExpressionError: with the place of what is not allowed.
    """
    if not sql.strip():
        raise ExpressionError("the expression is empty", "write a SQL scalar such as LENGTH(text) > 20")
    if len(sql) > MAX_CHARACTERS:
        raise ExpressionError(f"an expression of {len(sql)} characters", f"use at most {MAX_CHARACTERS}")
    words = list(_words(sql))
    if len(words) > MAX_WORDS:
        raise ExpressionError(f"an expression of {len(words)} words and signs", f"use at most {MAX_WORDS}")
    copying = sum(word.kind == "word" and word.text.lower() in _COPYING for word in words)
    if copying > MAX_COPYING_WORDS:
        message = f"it uses BETWEEN, CASE, SUBSTRING and the like {copying} times"
        raise ExpressionError(message, f"use {MAX_COPYING_WORDS} at most, and spread others over several maps")
    for at, word in enumerate(words):
        _check(words, at, word)
    return _widened(sql, words)


def _words(sql: str) -> Iterator[Word]:
    position = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        if match is None:
            raise _unexpected(sql, position)
        if match.lastgroup is not None:
            comment = match[0] == "-" and sql.startswith("--", position)
            if comment or (match[0] == "/" and sql.startswith("/*", position)):
                raise ExpressionError(f"a comment at character {position + 1}", "leave comments out of expressions")
            yield Word(match.lastgroup, match[0], position + 1)
        position = match.end()


def _unexpected(sql: str, position: int) -> ExpressionError:
    if sql[position] in "'\"":
        return ExpressionError(f"the quote at character {position + 1} is not closed", "close it, and write '' for '")
    return ExpressionError(
        f"{sql[position]!r} at character {position + 1} is not part of a SQL scalar", "take it away, or quote the text"
    )


def _check(words: Sequence[Word], at: int, word: Word) -> None:
    if word.kind != "word":
        if word.kind == "text" and at and words[at - 1].kind == "word" and _touch(words[at - 1], word):
            raise ExpressionError(f"a prefixed text at character {words[at - 1].place}", "write it as 'text'")
        return
    name = word.text.lower()
    if name in _REFUSED_WORDS and not _is_part_of_path(words, at):
        raise _refused(word, _REFUSED_WORDS[name])
    if name in _SUBQUERY_STARTS and at and words[at - 1].text == "(":
        raise _refused(word, "a subquery")
    if name in _CLOCKS and not _is_part_of_path(words, at):
        remedy = "use the record's event time: a run that is resumed sees another time of day"
        raise ExpressionError(f"{word.text!r} at character {word.place} depends on the clock", remedy)
    calls = at + 1 < len(words) and words[at + 1].text == "("
    if calls and name == "replace":
        _check_replacement(words, at, word)
    if calls and name not in FUNCTIONS and name not in _BEFORE_PARENTHESIS and not _is_type(words, at):
        raise _unknown_function(word, name)


def _check_replacement(words: Sequence[Word], at: int, word: Word) -> None:
    """Refuse a replacement that is no text of the expression: of a field's, the result grows with its square."""
    depth, arguments = 0, [0]
    for other in words[at + 1 :]:
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(other.text, 0)
        if depth == 0:
            break
        if depth == 1 and other.text == ",":
            arguments.append(0)
        elif not (depth == 1 and other.text == "("):
            arguments[-1] += 1 if other.kind == "text" else 2
    if len(arguments) > 2 and arguments[2] != 1:
        message = f"{word.text}() at character {word.place} takes what it puts in from a field"
        raise ExpressionError(message, "write that as a text, as in REPLACE(text, 'a', 'b')")


def _refused(word: Word, what: str) -> ExpressionError:
    message = f"{word.text!r} at character {word.place} starts {what}, but an expression sees one record only"
    return ExpressionError(
        message, f'use a join, window or aggregate node; a field of this name is written "{word.text}"'
    )


def _unknown_function(word: Word, name: str) -> ExpressionError:
    where = f"{word.text}() at character {word.place}"
    if name in _AGGREGATES:
        return ExpressionError(f"{where} aggregates over records", "use an aggregate node for it")
    if name in _TABLES:
        return ExpressionError(f"{where} is a table function", "read it with a source node, or use flat_map to explode")
    return ExpressionError(f"there is no scalar function {where}{nearest(name, FUNCTIONS)}", "use a known function")


def _touch(first: Word, second: Word) -> bool:
    return first.place + len(first.text) == second.place


def _is_part_of_path(words: Sequence[Word], at: int) -> bool:
    return at > 0 and words[at - 1].text == "."


def _is_type(words: Sequence[Word], at: int) -> bool:
    """Whether the word is a type with its size, as in ``CAST(price AS DECIMAL(10, 2))``."""
    before = words[at - 1] if at else None
    return before is not None and (before.text == "::" or before.text.lower() == "as")


def _widened(sql: str, words: Sequence[Word]) -> str:
    """Return ``sql`` with a cast behind each function that gives narrow integers. Also checks nesting."""
    open_calls: list[bool] = []
    ends: list[int] = []
    for at, word in enumerate(words):
        if word.text in ("(", "["):
            narrow = word.text == "(" and at > 0 and words[at - 1].text.lower() in _NARROW
            # Seconds since 1970 have a fraction.
            with_fraction = at + 1 < len(words) and words[at + 1].text.lower().strip("'") == "epoch"
            open_calls.append(narrow and not with_fraction)
            if len(open_calls) > MAX_NESTING:
                message = f"it is nested deeper than {MAX_NESTING} at character {word.place}"
                raise ExpressionError(message, "spread it over several maps")
        elif word.text in (")", "]"):
            if not open_calls:
                raise ExpressionError(f"{word.text!r} at character {word.place} closes nothing", "take it away")
            if open_calls.pop():
                ends.append(word.place)
    if open_calls:
        raise ExpressionError("a parenthesis is not closed", "close it")
    for end in reversed(ends):
        sql = f"{sql[:end]}::BIGINT{sql[end:]}"
    return sql
