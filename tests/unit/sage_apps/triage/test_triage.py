"""The triage over tickets whose vectors a test knows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.word_models import WordModels

from sage_apps.local_runs import run
from sage_apps.triage.evaluation import evaluate
from sage_apps.triage.incidents import incidents_of
from sage_apps.triage.tickets import (
    CATEGORIES,
    URGENCIES,
    categories_of,
    incoming_tickets,
    read_resolved,
    resolved_tickets,
)
from sage_apps.triage.triage_board import TriageBoard
from sage_apps.triage.triage_pipeline import CLASSIFIERS, Classifier, TriageOptions, ticket_records, triage_pipeline
from sage_common.errors import InvalidRequestError
from sage_kernel.model_port import ChatText, Embeddings

START = datetime(2026, 3, 2, 9, tzinfo=timezone.utc)
# Of the resolved tickets, these words are in those of one category alone.
WORDS = ("parcel", "password", "label", "warranty")


class SortingModels(WordModels):
    """Answers a chat with a JSON object that depends on the ticket alone."""

    def __init__(self) -> None:
        super().__init__(words=WORDS)
        self.prompts: list[str] = []
        self.categories = {"login": "login", "delivery": "delivery"}

    async def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        *,
        json_schema: Mapping[str, Any] | None = None,
        target_seconds: float | None = None,
    ) -> ChatText:
        assert json_schema is not None
        self.prompts.append(messages[-1]["content"])
        category = "login" if "password" in self.prompts[-1].splitlines()[-1] else "delivery"
        return ChatText(f'{{"category": "{self.categories[category]}", "urgency": "high"}}', "sorter")


def tickets(*minutes_and_texts: tuple[float, str]) -> list[dict[str, Any]]:
    return [
        {"id": f"t{number}", "at": (START + timedelta(minutes=minute)).isoformat(), "text": text}
        for number, (minute, text) in enumerate(minutes_and_texts)
    ]


async def triaged(models: WordModels, records: list[dict[str, Any]], **options: Any) -> TriageBoard:
    board = TriageBoard()
    spec = triage_pipeline(records, TriageOptions(**options)).build()
    await asyncio.wait_for(run(spec, models=models, keeps_nothing=True, on_records=board.take), 30)
    return board


async def test_a_surge_of_one_category_is_an_incident_and_shows_the_nearest_resolved_ticket() -> None:
    quiet = [(float(10 * at), "Where is my parcel?") for at in range(6)]
    surge = [(31 + at, "The password is refused") for at in range(4)]
    board = await triaged(SortingModels(), tickets(*sorted(quiet + surge)), alert_tickets=3)
    assert {one.text: one.category for one in board.tickets} == {
        "Where is my parcel?": "delivery",
        "The password is refused": "login",
    }
    assert all("password" in one.similar and one.resolution for one in board.tickets if one.category == "login")
    (incident,) = board.incidents
    # The third ticket comes at 9:33; the first window that holds three ends at 9:34.
    assert (incident.category, incident.most, f"{incident.raised_at:%H:%M}") == ("login", 4, "09:34")
    assert max(board.counts("login")) == 4
    assert {name: count for name, count, _ in board.totals()}["delivery"] == 6


@pytest.mark.parametrize("classifier", ["model", "model-with-neighbours"])
async def test_the_model_sorts_by_schema_and_may_see_the_neighbours(classifier: Classifier) -> None:
    models = SortingModels()
    records = tickets((1, "Where is my parcel?"), (2, "The password is refused"))
    board = await triaged(models, records, classifier=classifier)
    assert sorted((one.category, one.urgency) for one in board.tickets) == [("delivery", "high"), ("login", "high")]
    assert all(prompt.splitlines()[-1].endswith(" ->") for prompt in models.prompts)
    examples = 5 if classifier == "model-with-neighbours" else 0
    assert [prompt.count('"category"') for prompt in models.prompts] == [examples, examples]


async def test_tickets_of_others_have_categories_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "resolved.jsonl"
    file.write_text(
        '{"category": "post", "text": "a parcel"}\n\n{"category": "key", "text": "password", "urgency": "high"}'
    )
    known = read_resolved(file)
    assert categories_of(known) == ("post", "key")
    for classifier in ("neighbours", "model-with-neighbours"):
        models = SortingModels()
        models.categories = {"login": "key", "delivery": "post"}
        board = TriageBoard(categories_of(known))
        spec = triage_pipeline(tickets((1, "my password")), TriageOptions(classifier), resolved=known).build()  # type: ignore[arg-type]
        await run(spec, models=models, keeps_nothing=True, on_records=board.take)
        assert [(one.category, one.urgency) for one in board.tickets] == [("key", "high")]
        assert board.totals() == [("post", 0, 0), ("key", 1, 1)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "no resolved ticket"),
        ("{", "line 1: it is not JSON"),
        ('{"category": "in|out", "text": "x"}', "line 1: the category 'in|out' cannot be used"),
        ('{"category": "' + "x" * 101 + '", "text": "x"}', "line 1: the category 'xxx"),
        ('{"category": "post"}', "line 1: a resolved ticket has a 'category' and a 'text'"),
        ('{"category": "post", "text": "x", "urgency": "low"}', "'low'; write normal or high"),
    ],
)
def test_what_is_no_resolved_ticket_is_named_with_its_line(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "resolved.jsonl").write_text(line)
    with pytest.raises(InvalidRequestError, match=words):
        read_resolved(tmp_path / "resolved.jsonl")


async def test_a_ticket_that_nothing_resolved_is_like_is_unsorted_by_name() -> None:
    class FarFromAll(SortingModels):
        async def embed(self, texts: Sequence[str], *args: Any, **options: Any) -> Embeddings:
            found = await super().embed(texts, *args, **options)
            away = [[-1.0 if text == "Good morning" else 1.0] for text in texts]
            return Embeddings(found.vectors * np.array(away, dtype=np.float32), found.model)

    board = await triaged(FarFromAll(), tickets(*((at, "Good morning") for at in range(3))), alert_tickets=3)
    assert {(one.category, one.urgency) for one in board.tickets} == {("unsorted", "normal")}
    assert board.totals()[-1] == ("unsorted", 3, 0)
    assert {one.category for one in board.incidents} == {"unsorted"}


def test_categories_with_blanks_and_braces_are_texts_for_a_model_too(tmp_path: Path) -> None:
    file = tmp_path / "resolved.jsonl"
    file.write_text('{"category": " {post} ", "text": "a"}\n{"category": "key", "text": "b"}')
    known = read_resolved(file)
    assert categories_of(known) == ("{post}", "key")
    assert triage_pipeline("nats://tickets.>", TriageOptions("model"), resolved=known).validate() == []


def test_a_model_is_not_asked_to_choose_from_one_category() -> None:
    only = [one for one in resolved_tickets() if one.category == "login"]
    with pytest.raises(InvalidRequestError, match="have 1 categories, and a model chooses from 2 to 100"):
        triage_pipeline([], TriageOptions("model"), resolved=only)


def test_a_board_of_an_endless_stream_keeps_the_latest_and_counts_all() -> None:
    board = TriageBoard(most_kept=2)
    for minute in range(5):
        end = START + timedelta(minutes=minute)
        record = {"id": str(minute), "at": end.isoformat(), "text": "help", "category": "login", "urgency": "high"}
        board.take("tickets", [record])
        board.take("windows", [{"window": {"start": START, "end": end}, "category": "login", "tickets": minute}])
        board.take("alerts", [alert(30.0 * minute, 6)])
    assert [one.id for one in board.tickets] == ["3", "4"]
    assert board.counts("login") == [3, 4]
    assert len(board.incidents) == 2
    assert board.count == 5
    assert ("login", 5, 5) in board.totals()


def test_an_unknown_classifier_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidRequestError, match="did you mean 'neighbours'"):
        triage_pipeline([], TriageOptions("neighbour"))  # type: ignore[arg-type]


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_the_same_pipeline_reads_a_stream_and_is_a_job(classifier: Classifier) -> None:
    pipeline = triage_pipeline("nats://tickets.>", TriageOptions(classifier), alerts="nats://ticket-alerts")
    assert pipeline.validate() == []
    assert triage_pipeline(ticket_records(incoming_tickets()), TriageOptions(classifier)).to_yaml()


def alert(minute: float, tickets_: int, category: str = "login") -> dict[str, Any]:
    start = START + timedelta(minutes=minute)
    window = {"start": start, "end": start + timedelta(minutes=10)}
    return {"category": category, "tickets": tickets_, "window": window, "last": f"at {minute}"}


def test_alerts_that_touch_are_one_incident() -> None:
    found = incidents_of([alert(2, 6), alert(0, 5), alert(12, 7), alert(22.5, 5), alert(4, 9, "billing")])
    shown = [(one.category, one.windows, one.most, one.example, one.raised_at - START) for one in found]
    assert shown == [
        ("login", 3, 7, "at 12", timedelta(minutes=10)),
        ("billing", 1, 9, "at 4", timedelta(minutes=14)),
        ("login", 1, 5, "at 22.5", timedelta(minutes=32.5)),
    ]


def test_the_tickets_are_labelled_in_order_and_none_is_there_twice() -> None:
    resolved, incoming = resolved_tickets(), incoming_tickets()
    assert Counter(one.category for one in resolved) == dict.fromkeys(CATEGORIES, 16)
    assert {one.category for one in incoming} == set(CATEGORIES)
    assert {one.urgency for one in (*resolved, *incoming)} == set(URGENCIES)
    assert [one.at for one in incoming] == sorted(one.at for one in incoming)
    texts = Counter(one.text for one in (*resolved, *incoming))
    assert max(texts.values()) == 1
    assert {one.category for one in incoming if one.incident} == {"login"}


async def test_the_evaluation_compares_with_what_a_person_said() -> None:
    report = await evaluate(SortingModels(), ["model"])
    sorting, noticing, thresholds, neighbours = report.tables
    ((name, (accuracy, macro_f1, urgency, found, unsorted, _)),) = sorting.rows
    incoming = incoming_tickets()
    right = sum(one.category == ("login" if "password" in one.text else "delivery") for one in incoming)
    assert (name, accuracy, found, unsorted) == ("model", right / len(incoming), 1.0, 0)
    assert urgency == sum(one.urgency == "high" for one in incoming) / len(incoming)
    assert 0 < (macro_f1 or 0) < 1
    assert len(noticing.rows) == 1
    assert [row[0] for row in thresholds.rows] == ["3", "4", "5", "6", "8"]
    # All but those with a password are said to be of delivery: the incident that is noticed is none.
    assert all(row[1][1] == row[1][0] for row in thresholds.rows)
    assert all(0 <= (row[1][0] or 0) <= 1 for row in neighbours.rows)
