"""The monitor over articles whose vectors a test knows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from fixtures.word_models import WordModels

from sage_apps.local_runs import run
from sage_apps.monitor.articles import Article, article_records, day_of_articles, topic_words
from sage_apps.monitor.evaluation import evaluate, label_figures, names_topic, pair_figures, topic_figures
from sage_apps.monitor.monitor_board import MonitorBoard
from sage_apps.monitor.monitor_pipeline import MonitorOptions, monitor_pipeline
from sage_kernel.model_port import ChatText

START = datetime(2026, 3, 2, tzinfo=timezone.utc)


class LabellingModels(WordModels):
    """Labels a group by the first word of its first headline, in a sentence with more behind it, as small models do."""

    answer = "This news is about a {first} in the north, which is\n\nMore"

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
        return ChatText(self.answer.format(first=messages[-1]["content"].split()[0]), "labeller")


def article(hour: float, title: str, number: int = 0, **known: Any) -> Article:
    at = START + timedelta(hours=hour)
    return Article(f"a{number:03}", at, known.get("topic"), known.get("story", number), title, "")


async def watched(*articles: tuple[float, str], **options: Any) -> MonitorBoard:
    records = article_records(tuple(article(hour, title, at) for at, (hour, title) in enumerate(articles)))
    board = MonitorBoard()
    spec = monitor_pipeline(records, MonitorOptions(**options)).build()
    await asyncio.wait_for(run(spec, models=LabellingModels(), keeps_nothing=True, on_records=board.take), 30)
    return board


async def test_pairs_that_tell_the_same_are_found_once_and_only_near_in_time() -> None:
    board = await watched((1, "sky blue"), (2, "blue sky again"), (2, "blue sky once more"), (9, "sky and blue"))
    found = sorted((one.earlier_title, one.title) for one in board.duplicates)
    assert found == [
        ("blue sky again", "blue sky once more"),
        ("sky blue", "blue sky again"),
        ("sky blue", "blue sky once more"),
    ]
    assert board.articles == 4


async def test_topics_are_counted_by_window_and_labelled_with_the_first_line_of_the_answer() -> None:
    board = await watched(
        (1, "snow falls"), (2, "more snow"), (3, "grass grows"), (5, "snow again"), (7, "snow once more"), (8, "snow"),
    )  # fmt: skip
    (groups,) = board.topics()
    assert [(one.topic, one.label, one.articles) for one in groups] == [(1, "a snow", 3), (1, "a snow", 2)]
    assert groups[0].first_seen == START + timedelta(hours=1)
    assert groups[0].titles == ("snow falls", "more snow", "snow again")


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("Snow storm", "Snow storm"),
        (' "Snow storm." ', "Snow storm"),
        ("These headlines are about the snow that fell", "the snow"),
        ("The news.", "The news"),
        ("It is about an end to snow, it says", "an end to snow"),
        ("", ""),
    ],
)
async def test_a_label_is_what_the_answer_says_that_the_news_are_about(answer: str, label: str) -> None:
    class Models(LabellingModels):
        pass

    Models.answer = answer
    records = article_records((article(1, "snow falls", 1), article(2, "more snow", 2)))
    result = await run(monitor_pipeline(records).build(), models=Models(), keeps_nothing=True)
    assert [one["label"] for one in result.collections["groups"]] == [label]


def test_the_same_pipeline_reads_a_stream_and_is_a_job() -> None:
    assert monitor_pipeline("nats://articles.>").validate() == []
    assert monitor_pipeline(article_records(day_of_articles())).to_yaml()


def test_the_articles_are_in_order_and_every_topic_has_its_words() -> None:
    articles = day_of_articles()
    assert [one.at for one in articles] == sorted(one.at for one in articles)
    assert {one.topic for one in articles} - {None} == topic_words().keys()
    assert set(Counter(one.topic for one in articles if one.topic).values()) == {9}


def test_pairs_topics_and_labels_are_compared_with_what_is_known() -> None:
    known = [
        article(0, "a", 1, topic="moon", story=1), article(1, "b", 2, topic="moon", story=1),
        article(2, "c", 3, topic="moon", story=2), article(3, "d", 4, story=3),
    ]  # fmt: skip
    everything = frozenset(one.id for one in known)
    pairs = [
        {"id": "a002", "id_right": "a001", "similarity": 0.9},
        {"id": "a004", "id_right": "a001", "similarity": 0.7},
    ]
    assert pair_figures(known, pairs, 0.8, everything) == (1, 1.0, 1.0, 1.0)
    assert pair_figures(known, pairs, 0.6, everything) == (2, 0.5, 1.0, pytest.approx(2 / 3))
    assert pair_figures(known, pairs, 0.6, frozenset({"a003", "a004"})) == (1, 0.0, None, 0.0)
    assert pair_figures(known, [], 0.6, everything) == (0, None, 0.0, 0.0)
    members = [{"id": f"a00{number}", "topic": topic} for number, topic in ((1, 1), (2, 1), (3, 2), (4, 1))]
    assert topic_figures(known, members, everything) == (2, 0.75, pytest.approx(1 / 3))
    assert topic_figures(known, members, frozenset({"a003", "a004"})) == (2, 0.5, None)
    groups = [{"ids": ["a001", "a002", "a004"], "label": "Moon landing"}, {"ids": ["a003"], "label": "Honeymoon"}]
    assert label_figures(known, groups, lambda one: str(one["label"])) == (0.5, 1.5)


def test_a_label_names_a_topic_by_the_beginning_of_a_word() -> None:
    assert names_topic("Art theft", ["art"])
    assert not names_topic("Smart start", ["art"])
    assert names_topic("The Central Bank's step", ["central bank"])


async def test_the_evaluation_has_a_figure_for_each_threshold() -> None:
    report = await evaluate(LabellingModels(words=("volcan", "strike", "moon", "measles")))
    duplicates, others, topics, _, labels = report.tables
    assert [row[0] for row in duplicates.rows] == [row[0] for row in others.rows]
    counts = [row[1][0] for row in duplicates.rows]
    assert counts == sorted(counts, reverse=True)
    assert all(0 < (row[1][1] or 0) <= 1 for row in topics.rows)
    assert [row[0] for row in labels.rows] == ["by the model", "first headline"]
