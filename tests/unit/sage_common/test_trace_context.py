"""W3C trace contexts, as callers write them."""

from __future__ import annotations

import asyncio

import pytest

from sage_common.trace_context import (
    current_traceparent,
    is_sampled,
    trace_fields,
    tracing_as,
    unrecorded_traceparent,
    usable_traceparent,
)

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nonsense",
        GIVEN.upper(),
        GIVEN + "0",
        GIVEN.replace("-", "_"),
        "ff" + GIVEN[2:],
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        GIVEN[:-2] + "é1",
    ],
)
def test_another_form_is_no_context(value: str) -> None:
    assert usable_traceparent(value) == ""


def test_a_context_is_taken_as_it_is() -> None:
    assert usable_traceparent(GIVEN) == GIVEN
    assert trace_fields(GIVEN) == {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "span_id": "00f067aa0ba902b7"}
    assert trace_fields("") == {}


@pytest.mark.parametrize(("flags", "sampled"), [("01", True), ("03", True), ("ff", True), ("00", False), ("02", False)])
def test_the_lowest_flag_says_whether_it_is_recorded(flags: str, sampled: bool) -> None:
    assert is_sampled(GIVEN[:-2] + flags) is sampled


def test_a_new_trace_that_nobody_records_has_a_context_of_its_own() -> None:
    made = unrecorded_traceparent()
    assert usable_traceparent(made) == made
    assert not is_sampled(made)
    assert made != unrecorded_traceparent()


async def test_tasks_inherit_the_context_that_they_were_started_in() -> None:
    async def seen() -> str:
        return current_traceparent()

    with tracing_as(GIVEN):
        task = asyncio.create_task(seen())
    assert current_traceparent() == ""
    assert await task == GIVEN
