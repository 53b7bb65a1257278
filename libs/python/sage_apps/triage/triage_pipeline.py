"""The pipeline of the triage: embed, retrieve, classify, count by window, alert."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from sage_apps.pipelines import Pipeline
from sage_apps.triage.tickets import (
    UNSORTED,
    URGENCIES,
    IncomingTicket,
    ResolvedTicket,
    categories_of,
    resolved_tickets,
)
from sage_common.config import nearest
from sage_common.errors import InvalidRequestError
from sage_kernel.builder import Stream

Classifier: TypeAlias = Literal["neighbours", "model", "model-with-neighbours"]
CLASSIFIERS: tuple[Classifier, ...] = get_args(Classifier)
# Collections of a run, and what is in them.
TICKETS, WINDOWS, ALERTS = "tickets", "windows", "alerts"
TICKET_SCHEMA = {"id": "string", "at": "timestamp", "text": "string"}
# Of the type that a model's answer is held to.
MOST_CATEGORIES = 100
# Found by leaving out one resolved ticket at a time, never by the tickets that come in; see the evaluation.
NEIGHBOURS = 5
# What the categories of the tickets that come with the application mean; those of others speak for themselves.
_MEANINGS = {
    "delivery": "parcels on their way", "billing": "payments and invoices", "login": "accounts and passwords",
    "defect": "something is broken", "returns": "sending back, refunds", "product": "questions before buying",
}  # fmt: skip
_URGENCY = "Urgency is high where somebody is in danger or loses much soon, else normal."


@dataclass(frozen=True)
class TriageOptions:
    """How tickets are sorted and when an alert is given.

    Attributes:
        classifier: ``neighbours`` lets the most similar resolved tickets vote; ``model`` asks the chat model, held to a
            JSON schema; ``model-with-neighbours`` shows it the resolved tickets too.
        window, slide: the windows that are counted, and the time from one start to the next.
        alert_tickets: how many tickets of a category within a window are an alert.
        model: chat model; None takes the mesh's default.
    """

    classifier: Classifier = "neighbours"
    window: str = "10m"
    slide: str = "2m"
    alert_tickets: int = 6
    model: str | None = None


def ticket_records(tickets: Iterable[IncomingTicket]) -> list[dict[str, Any]]:
    """Return tickets as they come in, without what a person said of them later."""
    return [{"id": one.id, "at": one.at.isoformat(), "text": one.text} for one in tickets]


def triage_pipeline(
    tickets: str | Iterable[Mapping[str, Any]],
    options: TriageOptions | None = None,
    *,
    resolved: Sequence[ResolvedTicket] | None = None,
    alerts: str = f"collection:{ALERTS}",
) -> Pipeline:
    """Return the pipeline, which gives the collections ``tickets``, ``windows`` and ``alerts``.

    Args:
        tickets: the tickets themselves, or a source of them, such as ``nats://tickets.>``; each has ``id``, ``at`` and
            ``text``.
        resolved: tickets whose category is known; None takes those that come with the application.
        alerts: where alerts go, such as ``nats://ticket-alerts``.

    Raises:
        InvalidRequestError: there is no such classifier, or too few or too many categories for a model to choose from.
    """
    options = options or TriageOptions()
    if options.classifier not in CLASSIFIERS:
        found = nearest(options.classifier, CLASSIFIERS)
        raise InvalidRequestError(f"there is no classifier {options.classifier!r}{found}")
    pipeline = Pipeline("triage", 1, checkpoint_interval="2s")
    resolved = resolved_tickets() if resolved is None else resolved
    answered = pipeline.source(id="answered", records=[one._asdict() for one in resolved])
    answered.embed("{text}", id="answered_vectors", cache="triage-resolved").index("resolved")
    where: dict[str, Any] = (
        {"uri": tickets} if isinstance(tickets, str) else {"records": [dict(one) for one in tickets]}
    )
    incoming = pipeline.source(
        id="incoming", schema=TICKET_SCHEMA, event_time="at", lateness="30s", on_error="dlq", **where
    )
    written = incoming.filter("LENGTH(text) > 3", id="written")
    similar = written.embed("{text}", id="vectors", batch=16).retrieve("resolved", id="similar", k=NEIGHBOURS)
    sorted_ = _classified(similar, options, resolved).map(
        {"similar": "ARRAY_GET(context, 1)"}, id="sorted", drop=["context", "vector"]
    )
    sorted_.sink(f"collection:{TICKETS}", node_id="tickets")
    counts = (
        sorted_.key_by("category", id="by_category")
        .window(id="windows", sliding=[options.window, options.slide])
        .aggregate(
            id="counts",
            tickets="count()",
            urgent="sum(CASE WHEN urgency = 'high' THEN 1 ELSE 0 END)",
            ids="list(id)",
            last="last(text)",
        )
    )
    counts.sink(f"collection:{WINDOWS}", node_id="all_windows")
    raised = counts.filter(f"tickets >= {options.alert_tickets}", id="raised")
    raised.sink(alerts, node_id="alerts", id="{category}/{window.start}")
    return pipeline


def _classified(similar: Stream, options: TriageOptions, resolved: Sequence[ResolvedTicket]) -> Stream:
    if options.classifier == "neighbours":
        voted = similar.vote("category", id="category", share="confidence").vote("urgency", id="urgency")
        # Nothing that was resolved is like it: a row and an alert need a name for that.
        named = {"category": f"COALESCE(category, '{UNSORTED}')", "urgency": f"COALESCE(urgency, '{URGENCIES[0]}')"}
        return voted.map(named, id="named")
    categories = categories_of(resolved)
    if not 2 <= len(categories) <= MOST_CATEGORIES:
        raise InvalidRequestError(
            f"the resolved tickets have {len(categories)} categories, and a model chooses from 2 to {MOST_CATEGORIES}; "
            "use --classifier neighbours, or other tickets"
        )
    prompt = _line_of("text")
    dropped: list[str] = []
    if options.classifier == "model-with-neighbours":
        # The most similar one last, next to the question.
        dropped = [f"neighbour_{place}" for place in range(min(NEIGHBOURS, len(resolved)), 0, -1)]
        fields = {name: f"ARRAY_GET(context, {name.rpartition('_')[2]})" for name in dropped}
        similar = similar.map(fields, id="examples")
        shown = [_line_of(f"{name}.text", f"{name}.category", f"{name}.urgency") for name in dropped]
        prompt = "\n".join([*shown, prompt])
    answered = similar.llm(
        prompt,
        id="classified",
        system=_task(categories),
        model=options.model,
        out={"category": "|".join(categories), "urgency": "|".join(URGENCIES)},
        max_tokens=60,
        temperature=0,
        concurrency=8,
        on_error="dlq",
        cache="7d",
    )
    return answered.map(id="answer", drop=dropped) if dropped else answered


def _task(categories: Sequence[str]) -> str:
    listed = ", ".join(f"{one} ({_MEANINGS[one]})" if one in _MEANINGS else one for one in categories)
    # The message is a template, in which a category with braces would be a field.
    listed = listed.replace("{", "{{").replace("}", "}}")
    return f"You sort support tickets. Categories: {listed}. {_URGENCY}"


def _line_of(text: str, category: str = "", urgency: str = "") -> str:
    """Return a line of the prompt as a template: a ticket, and its answer where it has one."""
    answer = f' {{{{"category": "{{{category}}}", "urgency": "{{{urgency}}}"}}}}' if category else ""
    return f"{{{text}}} ->{answer}"
