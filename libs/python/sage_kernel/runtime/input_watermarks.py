"""The watermark of a node with several inputs: the least of those that hold it back."""

from __future__ import annotations

from pydantic import JsonValue

from sage_kernel.runtime.elements import END_OF_TIME_US, START_OF_TIME_US, Watermark


class InputWatermarks:
    """Combines the watermarks of a node's inputs. What it gives out never goes back.

    An input that is idle or has ended holds nobody back. While all those that have not ended are idle, the node is idle
    too, at the greatest of their times (as in Flink): an ended input beside them brings nobody to the end of time.
    """

    def __init__(self, inputs: int) -> None:
        self._times = [START_OF_TIME_US] * inputs
        self._idle = [False] * inputs
        self._ended = [False] * inputs
        self._sent = Watermark(START_OF_TIME_US)

    def time_of(self, index: int) -> int:
        """Return the watermark of one input."""
        return self._times[index]

    def advance(self, index: int, watermark: Watermark) -> Watermark | None:
        """Take the watermark of an input and return that of the node, or None where it is not news."""
        self._times[index] = max(self._times[index], watermark.time_us)
        self._idle[index] = watermark.is_idle
        return self._news()

    def end(self, index: int) -> Watermark | None:
        """Take the end of an input and return the watermark of the node, or None where it is not news."""
        self._ended[index] = True
        return self._news()

    def snapshot(self) -> JsonValue:
        """Return what ``restore`` needs."""
        return [[list(pair) for pair in zip(self._times, self._idle, strict=True)], list(self._sent)]

    def restore(self, state: JsonValue) -> None:
        """Take up the watermarks of a checkpoint; inputs that had ended will end again."""
        if not isinstance(state, list) or len(state) != 2:
            return
        pairs, sent = state
        assert isinstance(pairs, list)
        assert isinstance(sent, list)
        for index, pair in enumerate(pairs[: len(self._times)]):
            assert isinstance(pair, list)
            self._times[index], self._idle[index] = int(str(pair[0])), bool(pair[1])
        self._sent = Watermark(int(str(sent[0])), bool(sent[1]))

    def _news(self) -> Watermark | None:
        watermark = self._combined()
        if watermark == self._sent:
            return None
        self._sent = watermark
        return watermark

    def _combined(self) -> Watermark:
        going_on = [index for index, ended in enumerate(self._ended) if not ended]
        active = [self._times[index] for index in going_on if not self._idle[index]]
        if not going_on:
            time = END_OF_TIME_US
        elif active:
            time = min(active)
        else:
            time = max(self._times[index] for index in going_on)
        return Watermark(max(time, self._sent.time_us), is_idle=bool(going_on) and not active)
