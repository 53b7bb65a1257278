"""One request as spans of time, from what the schedulers explain of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from sage_client.management.views import DispatchView, Explanation

Phase = Literal["edge", "queued", "first_token", "tokens", "failed"]


@dataclass(frozen=True, slots=True)
class Span:
    """What happened between two moments, in milliseconds from the request's arrival.

    Attributes:
        note: what there is to say beside its length.
    """

    phase: Phase
    title: str
    begin_ms: float
    end_ms: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The spans in order, of the tries one below the other.

    Attributes:
        end_ms: until the request's end, or until now.
        running: whether it has not ended.
    """

    spans: tuple[Span, ...]
    end_ms: float
    running: bool


@dataclass
class _Spans:
    spans: list[Span] = field(default_factory=list)

    def add(self, phase: Phase, title: str, begin_ms: float, end_ms: float, note: str = "") -> None:
        # Clocks of two machines may disagree by less than a millisecond.
        begin = max(0.0, begin_ms)
        self.spans.append(Span(phase, title, begin, max(begin, end_ms), note))


def timeline(told: Explanation) -> Timeline:
    """Return the spans of a request.

    What is before the queue is the way through gateway and classifier. A try lasts until its end, the next try after
    its error, or now; the one that gave the first token has its tokens as a span of their own.
    """
    running = told.ended_after_ms is None
    end = float(told.age_ms) if told.ended_after_ms is None else told.ended_after_ms
    made = _Spans()
    tries = list(told.dispatches)
    queue_began = (tries[0].at_ms - tries[0].queue_ms) if tries else end - told.queue_ms
    # Less than a tenth of a millisecond would only be a hair.
    if queue_began >= 0.1:
        made.add("edge", "gateway, classifier", 0.0, queue_began)
    if not tries:
        made.add("queued", "queued", queue_began, end, _refusal(told))
        return Timeline(tuple(made.spans), end, running)
    made.add("queued", "queued", queue_began, tries[0].at_ms, tries[0].band)
    ends = [_end_of(this, following, end) for this, following in pairwise([*tries, None]) if this is not None]
    winner = _winner(told)
    for number, (this, this_end) in enumerate(zip(tries, ends, strict=True)):
        if number and not this.hedge and this.at_ms > ends[number - 1] + 0.1:
            made.add("queued", "queued again", ends[number - 1], this.at_ms)
        name = f"{'hedge' if this.hedge else f'try {this.tries}' if len(tries) > 1 else 'prefill'} on {this.engine_id}"
        _add_try(made, told, this, name, this_end, won=this is winner)
    if told.state == "queued":
        made.add("queued", "queued again", ends[-1], end)
    return Timeline(tuple(made.spans), end, running)


def _add_try(made: _Spans, told: Explanation, this: DispatchView, name: str, end: float, *, won: bool) -> None:
    error = f"{this.error_code}: {this.error_message}" if this.error_code else ""
    if not won or told.actual_ttft_ms is None:
        lost = "the other attempt began first" if not error and not won and told.actual_ttft_ms is not None else error
        made.add("failed" if error else "first_token", name, this.at_ms, end, lost)
        return
    if told.classification is not None and not told.classification.streaming:
        # Its first byte is its last, or nearly so: where it was computed is one span.
        count = f"{told.output_tokens} tokens, not streamed" if told.output_tokens else "not streamed"
        answer = f"answer from {this.engine_id}" if name.startswith("prefill") else name
        made.add("failed" if error else "tokens", answer, this.at_ms, end, "; ".join(filter(None, (count, error))))
        return
    first = min(this.at_ms + told.actual_ttft_ms, end)
    predicted = f"predicted {this.predicted_ttft_ms:.0f} ms" if this.predicted_ttft_ms is not None else ""
    made.add("first_token", f"{name}, to the first token", this.at_ms, first, predicted)
    count = f"{told.output_tokens} tokens" if told.output_tokens else ""
    if end > first or told.output_tokens:
        made.add("failed" if error else "tokens", "tokens", first, end, "; ".join(filter(None, (count, error))))


def _winner(told: Explanation) -> DispatchView | None:
    on_engine = [one for one in told.dispatches if one.engine_id == told.engine_id]
    return on_engine[-1] if on_engine else None


def _end_of(this: DispatchView, following: DispatchView | None, end: float) -> float:
    """Return when a try ended: an earlier one with an error when the next came, unless that ran beside it."""
    if following is None or following.hedge or not this.error_code:
        return end
    return max(this.at_ms, following.at_ms - following.queue_ms) if following.queue_ms else following.at_ms


def _refusal(told: Explanation) -> str:
    return f"{told.error_code}: {told.error_message}" if told.error_code else ""
