"""What is known of the records on an edge of the graph before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from sage_kernel.event_time.windows import WindowSpec
from sage_kernel.problems import Effort, Suggestions


@dataclass(frozen=True)
class StreamType:
    """The records of a stream.

    Attributes:
        fields: types by name, in order.
        is_open: records may have fields that are only known when the source is opened; then an unknown field is no
            error before the run.
        event_time: the field that says when a record happened, of type ``timestamp``; None where there is none.
        key: fields by which the records are grouped, set by ``key_by``.
        window: how the next ``aggregate`` or ``reduce`` groups them in time, set by ``window``.
        is_bounded: whether the stream ends by itself.
        partitioned_by: fields by which the splits of the source part its records: equal values are in one split.
    """

    fields: Mapping[str, pl.DataType] = field(default_factory=dict)
    is_open: bool = False
    event_time: str | None = None
    key: tuple[str, ...] = ()
    window: WindowSpec | None = None
    is_bounded: bool = True
    partitioned_by: frozenset[str] = frozenset()

    def with_fields(self, fields: Mapping[str, pl.DataType]) -> StreamType:
        """Return this type with ``fields`` added; a field of the same name gets the new type."""
        return replace(self._without(fields), fields={**self.fields, **fields})

    def only_fields(self, fields: Mapping[str, pl.DataType]) -> StreamType:
        """Return this type with ``fields`` alone. Key and event time go where their fields are not among them."""
        return replace(
            self._without(self.partitioned_by - fields.keys()),
            fields=dict(fields),
            is_open=False,
            event_time=self.event_time if self.event_time in fields else None,
            key=self.key if set(self.key) <= set(fields) else (),
        )

    def replacing(self, names: Iterable[str]) -> StreamType:
        """Return this type without key and event time that rest on ``names``: their values are others from here on."""
        changed = set(names)
        return replace(
            self._without(changed),
            event_time=None if self.event_time in changed else self.event_time,
            key=() if changed & set(self.key) else self.key,
        )

    def _without(self, changed: Iterable[str]) -> StreamType:
        """Return this type for values of these fields that are no longer those of the source."""
        return self if self.partitioned_by.isdisjoint(changed) else replace(self, partitioned_by=frozenset())

    def empty(self) -> pl.DataFrame:
        """Return a frame of this type without rows, on which expressions are typed."""
        return pl.DataFrame(schema=dict(self.fields))


class NodeProblems:
    """Collects what is wrong with one node while types are followed through it.

    Attributes:
        needed: by node id, the types of what the node waits for, such as the hits of an index.
        effort: how much work the expressions of the pipeline may still be.
    """

    def __init__(
        self,
        node_id: str,
        suggestions: Suggestions,
        needed: Mapping[str, StreamType] | None = None,
        effort: Effort | None = None,
    ) -> None:
        self.node_id = node_id
        self.suggestions = suggestions
        self.needed = needed or {}
        self.effort = effort or Effort()
        self.found: list[tuple[str, str, str]] = []

    def add(self, parameter: str, message: str, remedy: str) -> None:
        """Report a problem of a parameter (empty where there is no single one), and what to do."""
        self.found.append((parameter, message, remedy))

    def afford(self, cost: int, parameter: str) -> bool:
        """Take note of work, and report where it becomes too much for one pipeline."""
        was_spent = self.effort.is_spent
        self.effort.spend(cost)
        if self.effort.is_spent and not was_spent:
            message = "fields and expressions of this pipeline are too many together, from here on"
            self.add(parameter, message, "use fewer or shorter ones, or several pipelines")
        return not self.effort.is_spent

    def missing(self, parameter: str, name: str, stream: StreamType) -> None:
        """Report a field that the records of ``stream`` lack; nothing where they may have more than is known."""
        if name not in stream.fields and not stream.is_open:
            message = f"it reads field {name!r}, which not every record coming in has"
            self.add(
                parameter,
                message + self.suggestions.nearest(name, stream.fields),
                "correct the name or add the field before this node",
            )

    def missing_within(self, parameter: str, path: str, stream: StreamType) -> None:
        """Report a path that leads nowhere within a field that is there."""
        name, *rest = path.split(".")
        dtype = stream.fields[name]
        for step in rest:
            inner = {field.name: field.dtype for field in dtype.fields} if isinstance(dtype, pl.Struct) else {}
            if step not in inner:
                what = f"has no {step!r}{self.suggestions.nearest(step, inner)}" if inner else "is not a record"
                self.add(parameter, f"it reads {path!r}, but {name!r} {what}", "correct the path")
                return
            name, dtype = step, inner[step]  # type: ignore[assignment]


def union_of(streams: Sequence[StreamType]) -> StreamType:
    """Return the type of records that may come from any of ``streams``: the fields that all of them have.

    A field whose types differ gets the one that holds both where there is one (int and float), else it is left out.
    """
    if len(streams) == 1:
        return streams[0]
    fields: dict[str, pl.DataType] = {}
    for name, dtype in streams[0].fields.items():
        others = [stream.fields.get(name) for stream in streams[1:]]
        if all(other is not None for other in others):
            common = dtype
            for other in others:
                assert other is not None
                if common != other:
                    common = pl.Float64() if common.is_numeric() and other.is_numeric() else pl.Null()
            if common != pl.Null():
                fields[name] = common
    times = {stream.event_time for stream in streams}
    keys = {stream.key for stream in streams}
    return StreamType(
        fields,
        is_open=any(stream.is_open for stream in streams),
        event_time=next(iter(times)) if len(times) == 1 else None,
        key=next(iter(keys)) if len(keys) == 1 else (),
        is_bounded=all(stream.is_bounded for stream in streams),
    )
