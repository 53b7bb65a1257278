"""Where the time of a request went, in a sentence or two, and what its engine did while it waited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sage_client.management.engine_cap import narrowed_text
from sage_client.management.views import EngineView, Explanation
from sage_studio.feed import SeenRequest
from sage_studio.timeline import Phase, Timeline

# Below this nobody asks why.
SHORTEST_WAIT_MS = 50.0
# Groups of others that are named; the rest is a number.
NAMED_GROUPS = 3

# Class and tenant.
Group = tuple[str, str]


def others_while_queued(told: Explanation, drawn: Timeline, requests: Mapping[str, SeenRequest]) -> Counter[Group]:
    """Count the requests, by class and tenant, that an engine computed while this one waited in the queue.

    The engine is the one that took it, or, while it has none, any with its model. Empty where the request is not among
    ``requests`` or did not wait.
    """
    own = requests.get(told.request_id)
    waits = [span for span in drawn.spans if span.phase == "queued"]
    if own is None or not waits:
        return Counter()
    begin = own.arrived_unix_ms + waits[0].begin_ms
    end = own.arrived_unix_ms + waits[-1].end_ms
    groups: Counter[Group] = Counter()
    for seen in requests.values():
        view = seen.view
        same = (
            view.engine_id == told.engine_id
            if told.engine_id
            else bool(view.engine_id and view.model == own.view.model)
        )
        if not same or view.request_id == told.request_id:
            continue
        began = seen.arrived_unix_ms + view.queue_ms
        ended = None if view.ended_after_ms is None else seen.arrived_unix_ms + view.ended_after_ms
        if began < end and (ended is None or ended > begin):
            groups[view.service_class or "unknown", view.tenant] += 1
    return groups


def time_account(
    told: Explanation, drawn: Timeline, others: Mapping[Group, int], engine: EngineView | None
) -> list[str]:
    """Return sentences: what took most of the time, what the engine did meanwhile, and whether it began in time.

    Args:
        others: what an engine computed while the request waited, the most first.
        engine: the one that took it, as it is now; None while none has, and of one that has gone.
    """
    name = engine.name if engine is not None and engine.name else told.engine_id
    spent: dict[Phase, float] = {}
    for span in drawn.spans:
        spent[span.phase] = spent.get(span.phase, 0.0) + span.end_ms - span.begin_ms
    sentences = []
    if spent:
        phase, length = max(spent.items(), key=lambda part: part[1])
        so_far = " so far" if drawn.running else ""
        share = f"{milliseconds(length)} of {milliseconds(drawn.end_ms)}{so_far}"
        sentences.append(f"{share}: {_what(phase, told, length, name)}")
        if phase == "queued" and length >= SHORTEST_WAIT_MS and others:
            sentences.append(f"Meanwhile {name or 'the engines with its model'} worked on {_named(others)}.")
        if phase == "queued" and engine is not None and (narrowed := narrowed_text(engine)):
            sentences.append(f"{narrowed}.")
    late = _late(told)
    if late:
        sentences.append(late)
    return sentences


def _what(phase: Phase, told: Explanation, length: float, engine: str) -> str:
    known = told.classification
    if phase == "queued":
        return "it waited in the queue for its turn."
    if phase == "edge":
        return "it was on its way through gateway and classifier."
    if phase == "failed":
        return "it was with an engine that failed."
    if phase == "first_token":
        prompt = f" of about {known.input_tokens:,} tokens" if known is not None and known.input_tokens else ""
        return f"{engine} read its prompt{prompt}, until the first token."
    if known is not None and not known.streaming:
        return f"{engine} computed the answer."
    tokens = told.output_tokens or 0
    each = f", one each {milliseconds(length / (tokens - 1))}" if tokens > 1 else ""
    return f"{engine} wrote the answer, token by token{each}."


def _named(others: Mapping[Group, int]) -> str:
    """Return the groups in words, such as "9 others: 8 bulk of tenant a, 1 interactive of tenant b"."""
    ordered = sorted(others.items(), key=lambda group: -group[1])
    count = sum(others.values())
    parts = [
        f"{number} {service_class} of tenant {tenant}" for (service_class, tenant), number in ordered[:NAMED_GROUPS]
    ]
    rest = sum(number for _, number in ordered[NAMED_GROUPS:])
    if rest:
        parts.append(f"{rest} more")
    return f"{count} other{'' if count == 1 else 's'}: {', '.join(parts)}"


def _late(told: Explanation) -> str:
    """Return that the first token came behind its target; empty where it did not, or has none."""
    target = told.classification.slo_ttft_ms if told.classification is not None else 0
    took = [one.at_ms for one in told.dispatches if one.engine_id == told.engine_id]
    if not target or not took or told.actual_ttft_ms is None:
        return ""
    first = took[-1] + told.actual_ttft_ms
    return (
        f"Its first token came after {milliseconds(first)}; the target is {milliseconds(target)}."
        if first > target
        else ""
    )


def milliseconds(value: float) -> str:
    """Return a time for people."""
    if value < 10:
        return f"{value:.1f} ms"
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.1f} s"
