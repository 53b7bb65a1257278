"""Arrivals from a trace: a CSV file of arrival time, input tokens and output tokens, as the public Azure traces are."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.request_shapes import BULK, CHAT, GENERATE, RequestShape
from sage_common.errors import InvalidRequestError

# Names of the columns, in lower case without blanks, dashes and underscores.
_TIME: Final = frozenset({"timestamp", "time", "arrival", "arrivaltime", "at", "arrivedat", "start"})
_INPUT: Final = frozenset({"contexttokens", "inputtokens", "input", "prompttokens", "prompt", "requesttokens"})
_OUTPUT: Final = frozenset(
    {"generatedtokens", "outputtokens", "output", "completiontokens", "generated", "responsetokens"}
)


class TracePoint(NamedTuple):
    """One request of a trace; ``at`` in seconds from the first."""

    at: float
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class TracePlan:
    """How a trace becomes a workload.

    Attributes:
        speed: how many times as fast as it was recorded it is played.
        duration: seconds of the workload; what would arrive later is left out.
        shapes: what the requests are; drawn by ``share``, here of the number of requests. Their lengths are the
            trace's.
    """

    speed: float = 1.0
    duration: float = 300.0
    tenants: tuple[str, ...] = ("tenant-1",)
    shapes: tuple[RequestShape, ...] = (CHAT, GENERATE, BULK)


def read_trace(path: Path) -> list[TracePoint]:
    """Read a trace file; rows are put in order of time.

    Times are seconds, or dates as ISO 8601 writes them. Rows that generated nothing count as one token.

    Raises:
        InvalidRequestError: a column is missing or a value is not what it should be; the message names the line.
        OSError: the file cannot be read.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        columns = [_column(path, header, names) for names in (_TIME, _INPUT, _OUTPUT)]
        read = [_row(path, number, row, columns) for number, row in enumerate(rows, start=2) if row]
    if not read:
        raise InvalidRequestError(f"{path} holds no requests")
    read.sort()
    start = read[0][0]
    return [TracePoint(at - start, inputs, outputs) for at, inputs, outputs in read]


def trace_arrivals(points: Sequence[TracePoint], plan: TracePlan, seed: int) -> list[Arrival]:
    """Return the arrivals, in order of time. Kinds and tenants are drawn; times and lengths are the trace's."""
    rng = random.Random(seed)
    weights = [shape.share for shape in plan.shapes]
    arrivals = []
    for index, point in enumerate(points):
        at = point.at / plan.speed
        if at >= plan.duration:
            break
        shape = rng.choices(plan.shapes, weights)[0]
        arrivals.append(
            Arrival(
                index,
                at,
                shape.kind,
                rng.choice(plan.tenants),
                point.input_tokens,
                point.output_tokens,
                shape.service_class,
                # A client's limit is a round number that holds, not the length itself.
                max(shape.max_tokens, 1 << (point.output_tokens - 1).bit_length()),
                streaming=shape.streaming,
            )
        )
    return arrivals


def _column(path: Path, header: Sequence[str], names: frozenset[str]) -> int:
    for index, given in enumerate(header):
        if given.strip().lower().replace("_", "").replace("-", "").replace(" ", "") in names:
            return index
    raise InvalidRequestError(
        f"{path} has the columns {', '.join(header) or 'none'}; one of {', '.join(sorted(names))} is needed"
    )


def _row(path: Path, number: int, row: Sequence[str], columns: Sequence[int]) -> tuple[float, int, int]:
    try:
        at, inputs, outputs = (row[column].strip() for column in columns)
        return _seconds(at), max(1, int(float(inputs))), max(1, int(float(outputs)))
    except (ValueError, IndexError) as error:
        raise InvalidRequestError(f"{path} line {number}: {error}; expected a time and two numbers of tokens") from None


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    whole, _, fraction = text.replace("Z", "+00:00").partition(".")
    # Traces have seven digits after the point; Python 3.10 reads three or six.
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
    moment = datetime.fromisoformat(whole + fraction[len(digits) :])
    return moment.timestamp() + (float(f"0.{digits}") if digits else 0.0)
