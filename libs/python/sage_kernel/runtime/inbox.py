"""What a node had been sent but not let out yet when a checkpoint was taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl
from pydantic import JsonValue

from sage_kernel.operator import State
from sage_kernel.runtime.elements import Element, Watermark
from sage_kernel.runtime.spilled_frame import SpilledFrame

# In place of an input's position: inside the operator, on their way to a model for example.
IN_OPERATOR = -1


class InboxEntry(NamedTuple):
    """An element, and the input that it waits in."""

    input_index: int
    element: Element | SpilledFrame


class LazyFrames(Mapping[str, pl.DataFrame]):
    """Frames, some of them on the disk: those are read each time that they are asked for."""

    def __init__(self, frames: Mapping[str, pl.DataFrame | SpilledFrame]) -> None:
        self._frames = frames

    def __getitem__(self, name: str) -> pl.DataFrame:
        frame = self._frames[name]
        return frame.read() if isinstance(frame, SpilledFrame) else frame

    def __iter__(self) -> Iterator[str]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)


@dataclass(frozen=True)
class Inbox:
    """Elements in order, and the watermarks of the inputs, as a ``State``."""

    state: State = field(default_factory=State)

    @staticmethod
    def of(entries: Sequence[InboxEntry], watermarks: JsonValue) -> Inbox:
        """Return the inbox of these entries. Ends are left out: a node that has ended ends again."""
        written: list[JsonValue] = []
        frames: dict[str, pl.DataFrame | SpilledFrame] = {}
        for index, element in entries:
            if isinstance(element, Watermark):
                written.append([index, element.time_us, element.is_idle])
            elif isinstance(element, pl.DataFrame | SpilledFrame):
                name = f"{len(frames):06}"
                frames[name] = element
                written.append([index, name])
        return Inbox(State({"entries": written, "watermarks": watermarks}, LazyFrames(frames)))

    @property
    def watermarks(self) -> JsonValue:
        """Return the watermarks of the inputs."""
        return self.state.values.get("watermarks")

    @property
    def has_records(self) -> bool:
        """Return whether records wait."""
        return len(self.state.frames) > 0

    def entries(self) -> Iterator[tuple[int, Element]]:
        """Yield (input, element) in order."""
        written = self.state.values.get("entries")
        for entry in written if isinstance(written, list) else ():
            assert isinstance(entry, list)
            index = int(str(entry[0]))
            if isinstance(entry[1], str):
                yield index, self.state.frames[entry[1]]
            else:
                yield index, Watermark(int(str(entry[1])), bool(entry[2]))
