"""How well tickets are sorted, and how soon an incident is noticed, each way of sorting over the same morning."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from sage_apps.evaluation_report import EvaluationReport, EvaluationTable
from sage_apps.local_runs import run
from sage_apps.triage.incidents import incidents_of
from sage_apps.triage.tickets import IncomingTicket, incoming_tickets, resolved_tickets
from sage_apps.triage.triage_pipeline import (
    ALERTS,
    CLASSIFIERS,
    NEIGHBOURS,
    TICKETS,
    WINDOWS,
    Classifier,
    TriageOptions,
    ticket_records,
    triage_pipeline,
)
from sage_kernel.model_port import ModelPort
from sage_kernel.runtime.progress import RunResult
from sage_libs.classification_scores import classification_scores

THRESHOLDS = (3, 4, 5, 6, 8)
NEIGHBOUR_COUNTS = (1, 3, 5, 7, 9)


async def evaluate(
    models: ModelPort,
    classifiers: Sequence[Classifier] = CLASSIFIERS,
    *,
    chat_model: str | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> EvaluationReport:
    """Sort the morning's tickets with each classifier, and compare with what a person said of them. Raises SageError.

    Args:
        chat_model: None takes the mesh's default.
        on_step: told of what begins.
    """
    began = time.monotonic()
    tickets = incoming_tickets()
    sorting, noticing = [], []
    runs: dict[Classifier, RunResult] = {}
    for classifier in classifiers:
        on_step(f"sorting {len(tickets)} tickets by {classifier}")
        options = TriageOptions(classifier, model=chat_model)
        spec = triage_pipeline(ticket_records(tickets), options).build()
        # Nothing is kept: what is measured is the models' work, not that of a cache.
        runs[classifier] = result = await run(spec, models=models, keeps_nothing=True)
        found = {one["id"]: one for one in result.collections[TICKETS]}
        sorting.append((classifier, (*_label_figures(tickets, found), result.seconds)))
        noticing.append((classifier, _alert_figures(tickets, result.collections[ALERTS])))
    alert_columns = ("incidents", "false", "delay, min", "tickets by then")
    tables = [
        EvaluationTable(
            f"Sorting: {len(tickets)} tickets that the resolved ones do not hold",
            ("classifier", "accuracy", "macro-F1", "urgency", "high found", "unsorted", "seconds"),
            tuple(sorting),
        ),
        EvaluationTable(
            f"Noticing the incident: {sum(one.incident for one in tickets)} tickets in 20 minutes, "
            f"alert from {TriageOptions().alert_tickets} in {TriageOptions().window} on",
            ("classifier", *alert_columns),
            tuple(noticing),
        ),
    ]
    first = classifiers[0]
    windows = runs[first].collections[WINDOWS]
    tables.append(
        EvaluationTable(
            f"How many tickets are an alert ({first})",
            ("tickets", *alert_columns),
            tuple(
                (str(least), _alert_figures(tickets, [one for one in windows if one["tickets"] >= least]))
                for least in THRESHOLDS
            ),
        )
    )
    on_step("leaving out one resolved ticket at a time")
    tables.append(await _left_out(models))
    return EvaluationReport(
        "triage",
        f"{len(resolved_tickets())} resolved and {len(tickets)} incoming tickets, written for this",
        ("default embedding model", chat_model or "default chat model"),
        time.monotonic() - began,
        tuple(tables),
        (
            "accuracy and macro-F1 are of categories; 'high found' is the share of the urgent tickets that are said "
            "to be; an unsorted ticket counts as wrong",
            "the delay is from the incident's first ticket to the end of the first window that gives the alert",
        ),
    )


def _label_figures(tickets: Sequence[IncomingTicket], found: Mapping[str, Mapping[str, Any]]) -> tuple[float, ...]:
    nothing: Mapping[str, Any] = {}
    categories = classification_scores((one.category, found.get(one.id, nothing).get("category")) for one in tickets)
    urgencies = classification_scores((one.urgency, found.get(one.id, nothing).get("urgency")) for one in tickets)
    unsorted = sum(one.id not in found for one in tickets)
    return (
        categories.accuracy, categories.macro_f1, urgencies.accuracy, urgencies.recall_of("high"), unsorted
    )  # fmt: skip


def _alert_figures(tickets: Sequence[IncomingTicket], alerts: Sequence[Mapping[str, Any]]) -> tuple[float | None, ...]:
    """Return incidents, those that were none, the delay in minutes, and the tickets that had come by then."""
    told = [one for one in tickets if one.incident]
    start, end = told[0].at, told[-1].at + timedelta(seconds=1)
    found = incidents_of(alerts)
    true = [one for one in found if one.category == told[0].category and one.overlaps(start, end)]
    raised = true[0].raised_at if true else None
    return (len(found), len(found) - len(true), _minutes(start, raised), _count_before(told, raised))


def _minutes(start: datetime, raised: datetime | None) -> float | None:
    return None if raised is None else (raised - start).total_seconds() / 60


def _count_before(told: Sequence[IncomingTicket], raised: datetime | None) -> float | None:
    return None if raised is None else sum(one.at < raised for one in told)


async def _left_out(models: ModelPort) -> EvaluationTable:
    """Return how well the resolved tickets sort each of themselves, by how many vote."""
    resolved = resolved_tickets()
    vectors = (await models.embed([one.text for one in resolved])).vectors
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    order = np.argsort(-similar, axis=1, kind="stable")
    rows = []
    for count in NEIGHBOUR_COUNTS:
        pairs = []
        for at, one in enumerate(resolved):
            votes: dict[str, float] = {}
            for other in order[at, :count]:
                category = resolved[other].category
                votes[category] = votes.get(category, 0.0) + max(0.0, float(similar[at, other]))
            pairs.append((one.category, max(votes, key=votes.__getitem__)))
        scores = classification_scores(pairs)
        rows.append((str(count), (scores.accuracy, scores.macro_f1)))
    title = f"How many neighbours vote: resolved tickets, each left out ({NEIGHBOURS} is the default)"
    return EvaluationTable(title, ("neighbours", "accuracy", "macro-F1"), tuple(rows))
