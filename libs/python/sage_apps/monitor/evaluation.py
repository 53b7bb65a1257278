"""How many duplicates are found, how well articles fall into topics, and how many labels name theirs."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from sage_apps.evaluation_report import EvaluationReport, EvaluationTable, share
from sage_apps.local_runs import run
from sage_apps.monitor.articles import Article, article_records, day_of_articles, topic_words
from sage_apps.monitor.monitor_pipeline import DUPLICATES, GROUPS, MEMBERS, MonitorOptions, monitor_pipeline
from sage_kernel.model_port import ModelPort

SIMILARITIES = (0.60, 0.65, 0.70, 0.75, 0.80, 0.85)
TOPIC_SIMILARITIES = (0.2, 0.25, 0.3, 0.35, 0.4)


async def evaluate(
    models: ModelPort,
    options: MonitorOptions | None = None,
    *,
    on_step: Callable[[str], None] = lambda step: None,
) -> EvaluationReport:
    """Run the monitor over the day's articles, and compare with what is known of them. Raises SageError.

    Args:
        on_step: told of what begins.
    """
    began = time.monotonic()
    options = options or MonitorOptions()
    articles = day_of_articles()
    on_step(f"watching {len(articles)} articles")
    # With the lowest similarity of those that are compared: the pairs of the others are among these.
    result = await _watched(models, articles, replace(options, duplicate_similarity=min(SIMILARITIES)))
    topics: dict[float, list[dict[str, Any]]] = {}
    for similarity in TOPIC_SIMILARITIES:
        on_step(f"topics from a similarity of {similarity:.2f} on")
        # No group is of so many: what is compared needs no labels.
        unlabelled = replace(options, topic_similarity=similarity, least_articles=len(articles) + 1)
        topics[similarity] = (await _watched(models, articles, unlabelled))[MEMBERS]
    similarities = sorted({*SIMILARITIES, options.duplicate_similarity})
    pairs = result[DUPLICATES]
    halves = halves_of(articles)
    tables = (
        *(
            EvaluationTable(
                f"Duplicates, {half} (the default is {options.duplicate_similarity:.2f})",
                ("similarity", "pairs", "precision", "recall", "F1"),
                tuple((f"{least:.2f}", pair_figures(articles, pairs, least, of)) for least in similarities),
            )
            for half, of in halves.items()
        ),
        *(
            EvaluationTable(
                f"Topics, {half} (the default is {options.topic_similarity:.2f})",
                ("similarity", "clusters", "purity", "together"),
                tuple((f"{least:.2f}", topic_figures(articles, found, of)) for least, found in topics.items()),
            )
            for half, of in halves.items()
        ),
        EvaluationTable(
            f"Labels of {len(result[GROUPS])} groups of articles",
            ("label", "names the topic", "mean words"),
            (
                ("by the model", label_figures(articles, result[GROUPS], lambda group: str(group["label"]))),
                ("first headline", label_figures(articles, result[GROUPS], lambda group: str(group["titles"][0]))),
            ),
        ),
    )
    return EvaluationReport(
        "monitor",
        f"{len(articles)} articles of one day, written for this",
        ("default embedding model", options.model or "default chat model"),
        time.monotonic() - began,
        tables,
        (
            "purity: share of the articles whose topic is that of most of their cluster; together: share of the pairs "
            "of one topic that are in one cluster",
            "the words that ask for a label were chosen on all topics; "
            "a label names the topic if it has a word that begins with one of the topic's in data/topics.json",
        ),
    )


def halves_of(articles: Sequence[Article]) -> dict[str, frozenset[str]]:
    """Return the ids of the articles of every other topic, and of the others; those of none go with either in turn.

    What is chosen by figures is chosen on the first half, and told on the second.
    """
    names = sorted(topic_words())
    chosen_on = [
        one.id for at, one in enumerate(articles) if (one.topic in names[::2] if one.topic is not None else at % 2 == 0)
    ]
    others = frozenset(one.id for one in articles) - frozenset(chosen_on)
    return {"topics that they were chosen on": frozenset(chosen_on), "the other topics": others}


def pair_figures(
    articles: Sequence[Article], pairs: Iterable[Mapping[str, Any]], least: float, of: frozenset[str]
) -> tuple[float | None, ...]:
    """Return how many pairs with an article of ``of`` are at least so similar, precision, recall and F1."""
    story = {one.id: one.story for one in articles}
    found = {frozenset((one["id"], one["id_right"])) for one in pairs if one["similarity"] >= least}
    found = {pair for pair in found if pair & of}
    right = sum(len({story[name] for name in pair}) == 1 for pair in found)
    wanted = sum(one.story == other.story and one.id in of for one, other in combinations(articles, 2))
    precision, recall = share(right, len(found)), share(right, wanted)
    f1 = 2 * right / (len(found) + wanted) if found or wanted else None
    return (len(found), precision, recall, f1)


def topic_figures(
    articles: Sequence[Article], members: Iterable[Mapping[str, Any]], of: frozenset[str]
) -> tuple[float | None, ...]:
    """Return how many clusters the articles of ``of`` are in, the share of them whose topic is that of most of their
    cluster, and the share of their pairs of a topic that are together."""
    number = {str(one["id"]): one["topic"] for one in members}
    clusters: dict[Any, Counter[str]] = defaultdict(Counter)
    for one in articles:
        clusters[number.get(one.id)][_topic(one)] += 1
    mine = [one for one in articles if one.id in of]
    pure = sum(clusters[number.get(one.id)].most_common(1)[0][0] == _topic(one) for one in mine)
    same = [pair for pair in combinations(mine, 2) if pair[0].topic is not None and pair[0].topic == pair[1].topic]
    together = sum(number.get(one.id) == number.get(other.id) for one, other in same)
    return (len({number.get(one.id) for one in mine}), share(pure, len(mine)), share(together, len(same)))


def label_figures(
    articles: Sequence[Article], groups: Iterable[Mapping[str, Any]], label_of: Callable[[Mapping[str, Any]], str]
) -> tuple[float | None, ...]:
    """Return the share of the groups' labels that name the topic of most of their articles, and their mean length."""
    topic = {one.id: _topic(one) for one in articles}
    words = topic_words()
    named = length = count = 0
    for group in groups:
        label = label_of(group)
        most = Counter(topic[name] for name in group["ids"]).most_common(1)[0][0]
        count += 1
        length += len(label.split())
        named += names_topic(label, words.get(most, []))
    return (share(named, count), share(length, count))


def names_topic(label: str, beginnings: Iterable[str]) -> bool:
    """Say whether a label has a word, or words, that begin with one of these."""
    return any(re.search(rf"\b{re.escape(one)}", label, re.IGNORECASE) for one in beginnings)


def _topic(article: Article) -> str:
    return article.topic or f"only {article.id}"


async def _watched(
    models: ModelPort, articles: tuple[Article, ...], options: MonitorOptions
) -> dict[str, list[dict[str, Any]]]:
    # Nothing is kept: what is measured is the models' work, not that of a cache.
    result = await run(monitor_pipeline(article_records(articles), options).build(), models=models, keeps_nothing=True)
    return result.collections
