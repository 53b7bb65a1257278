"""SQL scalars: typed before anything runs, of one record, and of bounded cost."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_kernel.expressions import evaluated, expression_type, parse
from sage_kernel.problems import Effort, Suggestions
from sage_kernel.schema import TIMESTAMP
from sage_kernel.sql_text import FUNCTIONS, ExpressionError, checked
from sage_kernel.stream_type import NodeProblems, StreamType

STREAM = StreamType(
    {
        "n": pl.Int64(),
        "x": pl.Float64(),
        "text": pl.String(),
        "ts": TIMESTAMP,
        "window": pl.Struct({"start": TIMESTAMP, "end": TIMESTAMP}),
        "items": pl.List(pl.Int64()),
    }
)
TIME = datetime(2024, 5, 1, 13, 30, tzinfo=UTC)
FRAME = pl.DataFrame(
    {
        "n": [1, 2, None],
        "x": [0.5, -1.0, 2.0],
        "text": ["hello", "", "abc"],
        "ts": [TIME] * 3,
        "window": [{"start": TIME, "end": TIME}] * 3,
        "items": [[1, 2], [], [3]],
    },
    schema=dict(STREAM.fields),
)


def typed(sql: str, stream: StreamType = STREAM) -> tuple[pl.DataType | None, list[str]]:
    problems = NodeProblems("node", Suggestions())
    dtype = expression_type(sql, "where", stream, problems)
    return dtype, [f"{message}; {remedy}" for _, message, remedy in problems.found]


@pytest.mark.parametrize(
    ("sql", "dtype", "values"),
    [
        ("n + 1", pl.Int64(), [2, 3, None]),
        ("1", pl.Int64(), [1, 1, 1]),
        ("LENGTH(text) - 4", pl.Int64(), [1, -4, -1]),
        ("EXTRACT(hour FROM ts) * 1000", pl.Int64(), [13_000] * 3),
        ("ROUND(x * 2.5, 1)", pl.Float64(), [1.2, -2.5, 5.0]),
        ("window.start = ts", pl.Boolean(), [True] * 3),
        ("ts + INTERVAL '1 day' > ts", pl.Boolean(), [True] * 3),
        ("n BETWEEN 1 AND 1 OR n IS NULL", pl.Boolean(), [True, False, True]),
        ("CASE WHEN n > 1 THEN 'many' ELSE 'few' END", pl.String(), ["few", "many", "few"]),
        ("text IN ('abc', 'x')", pl.Boolean(), [False, False, True]),
        ("text ~ '^a\\w+'", pl.Boolean(), [False, False, True]),
        ("'it''s ' || UPPER(text)", pl.String(), ["it's HELLO", "it's ", "it's ABC"]),
        ("ARRAY_LENGTH(items) - 1", pl.Int64(), [1, -1, 0]),
        ("CAST(n AS DECIMAL(10, 2))", pl.Float64(), [1.0, 2.0, None]),
        ("COALESCE(n, 0)", pl.Int64(), [1, 2, 0]),
    ],
)
def test_a_scalar_has_a_type_before_and_values_of_it_after(sql: str, dtype: pl.DataType, values: list[object]) -> None:
    found, problems = typed(sql)
    assert (found, problems) == (dtype, [])
    column = FRAME.with_columns(evaluated(sql, found).alias("result"))["result"]
    assert column.dtype == dtype
    assert column.to_list() == values
    assert FRAME[:0].with_columns(evaluated(sql, found).alias("result")).height == 0


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("COUNT(*)", "aggregates over records; use an aggregate node"),
        ("sum(n) OVER (PARTITION BY text)", "aggregates over records"),
        ("n > (SELECT max(n) FROM t)", "'SELECT' at character 6 starts a subquery"),
        ("EXISTS (FROM t)", "starts a subquery"),
        ("n IN (VALUES (1))", "starts a subquery"),
        ("read_csv('/etc/passwd')", "is a table function"),
        ("unnest(items)", "use flat_map to explode"),
        ("ROW_NUMBER() OVER (ORDER BY n)", "there is no scalar function ROW_NUMBER()"),
        ("lenght(text)", "did you mean 'length'?"),
        ("textt", "did you mean 'text'?"),
        ("n + text", "its types do not fit"),
        ("window.stop", "there is no 'stop'"),
        ("now()", "depends on the clock"),
        ("CURRENT_TIMESTAMP > ts", "depends on the clock"),
        ("n -- 1", "a comment at character 3"),
        ("n /* 1 */", "a comment at character 3"),
        ("$$select$$", "'$' at character 1"),
        ("E'\\n'", "a prefixed text"),
        ("n; DROP TABLE t", "';' at character 2"),
        ("'open", "the quote at character 1 is not closed"),
        ("((n)", "a parenthesis is not closed"),
        ("n)", "')' at character 2 closes nothing"),
        ("n +", "it is no SQL scalar"),
        ("n, x", "it is no SQL scalar"),
        ("*", "it is no SQL scalar"),
        (" ", "the expression is empty"),
        ("GREATEST()", "it is no SQL scalar"),
        ("COLUMNS('.*')", "there is no scalar function COLUMNS()"),
        ("n" * 5000, "an expression of 5000 characters"),
        ("n+" * 200 + "n", "an expression of 401 words"),
        ("(" * 30 + "n" + ")" * 30, "nested deeper than 24"),
        ("n BETWEEN 1 AND 2" + " BETWEEN 1 AND 2" * 10, "11 times"),
    ],
)
def test_what_is_no_scalar_is_refused_with_its_place_and_a_remedy(sql: str, said: str) -> None:
    dtype, problems = typed(sql)
    assert dtype is None
    assert len(problems) == 1
    assert said in problems[0]
    assert len(problems[0]) < 700


def test_polars_never_sees_the_name_of_a_file(tmp_path: Path) -> None:
    # It would open the file while it parses the subquery.
    for sql in (f"n IN (SELECT * FROM read_csv('{tmp_path}/none.csv'))", f"EXISTS (FROM read_csv('{tmp_path}/x.csv'))"):
        with pytest.raises(ExpressionError, match="subquery"):
            parse(sql)


def test_quotes_and_words_in_texts_mislead_nobody() -> None:
    assert typed("text = 'select -- ; ('")[1] == []
    assert typed('"select"')[1][0].startswith("it reads field 'select'")
    assert typed("'\\' || text || '")[1] != []


def test_a_field_of_an_open_stream_is_typed_when_the_source_is_open() -> None:
    open_stream = StreamType({"n": pl.Int64()}, is_open=True)
    assert typed("later + n", open_stream) == (None, [])
    assert typed("n + 1", open_stream) == (pl.Int64(), [])
    assert typed("later +", open_stream)[1] != []


def test_every_function_of_the_list_is_one_of_polars() -> None:
    shapes = ("", "n", "x, n", "text", "text, 'a'", "text, 1", "text, 1, 2", "text, 'a', 'b'", "text, 'a', 1", "items",
              "items, 1", "items, ','", "'year', ts", "year FROM ts", "'a' IN text", "n AS INT", "n > 1, 1, 2", "ts",
              "ts, '%Y'", "'a', text", "text, NFC", "n, n", "text, text")  # fmt: skip
    known = set()
    for name in FUNCTIONS:
        # Without arguments some of them panic, which is slow to unwind.
        for shape in shapes if name == "pi" else shapes[1:]:
            try:
                parse(f"{name}({shape})" if name != "array" else "array[1, 2]")
            except ExpressionError:
                continue
            known.add(name)
    assert FUNCTIONS - known == set()


@pytest.mark.parametrize(
    "sql",
    [
        "LEFT(text, " * 8 + "n" + ")" * 8,
        "SUBSTR(" * 8 + "text" + ", n, n)" * 8,
        "n BETWEEN 1 AND 2" + " BETWEEN FALSE AND TRUE" * 7,
        "SPLIT_PART(" * 8 + "text" + ", ',', 1)" * 8,
        "CASE " * 7 + "n" + " WHEN 1 THEN 2 WHEN 2 THEN 3 WHEN 4 THEN 5 END" * 7,
        "||".join(["text"] * 150),
        "+".join(["n"] * 150),
        "ROUND(" * 24 + "n" + ", 1)" * 24,
        "ATAN2D(" * 8 + "n" + ", n)" * 8,
        "POSITION(text IN " * 8 + "text" + ")" * 8,
        "text ~ '" + "(a{1000}){1000}" * 200 + "'",
    ],
)
def test_no_expression_takes_long(sql: str) -> None:
    spent = []
    for _ in range(3):
        began = time.thread_time()
        typed(sql)
        spent.append(time.thread_time() - began)
    # The least: a collection of the whole process's garbage may fall into one.
    assert min(spent) < 0.1


def test_a_pipeline_has_so_much_and_no_more() -> None:
    problems = NodeProblems("node", Suggestions(), effort=Effort(1000))
    for _ in range(100):
        expression_type("n + 1", "where", STREAM, problems)
    assert len(problems.found) == 1
    assert "too many together" in problems.found[0][1]


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.text(alphabet="ntx'\"()[]+-*/.,<>=| %~0123 selctfromwhnbwd\\", max_size=60))
def test_whatever_text_is_a_scalar_or_a_refusal(sql: str) -> None:
    dtype, problems = typed(sql)
    assert (dtype is None) == bool(problems)
    if dtype is not None:
        frame = FRAME[:0].with_columns(evaluated(sql, dtype).alias("result"))
        assert frame.height == 0


@given(st.integers(1, 20))
def test_widening_keeps_what_it_does_not_know(count: int) -> None:
    sql = " + ".join(["LENGTH(text)"] * count)
    assert checked(sql).count("::BIGINT") == count
    assert checked("n + 1") == "n + 1"
