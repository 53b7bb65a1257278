"""The pipeline of the monitor: embed, join with what came shortly before, cluster, count by window, label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sage_apps.pipelines import Pipeline
from sage_kernel.builder import Stream

# Collections of a run, and what is in them: pairs that tell the same, the topic of each article, topics by window.
DUPLICATES, MEMBERS, GROUPS = "duplicates", "articles", "groups"
ARTICLE_SCHEMA = {"id": "string", "at": "timestamp", "title": "string", "text": "string"}
# A model of 135 million parameters answers this with what it is about more often than it names a topic when asked for
# one, with examples or held to a schema; see the evaluation.
_LABEL_PROMPT = "{headlines}.\n\nWhat is this news about?"
_HEADLINES = 4
# Its answer is a sentence: "This news is about a museum robbery in the city, which …". What is before and behind the
# topic goes, as far as there is any.
_BEHIND = (",", ".", " which ", " that ", " in the ")


@dataclass(frozen=True)
class MonitorOptions:
    """What counts as the same, and what as one topic.

    Attributes:
        duplicate_similarity: least cosine similarity of two articles that tell the same.
        duplicates_within: how far apart in time they may be.
        topic_similarity: least cosine similarity of an article to the mean of its topic.
        topic_within: how long after its last article a topic gets no more.
        window: by which topics are counted.
        least_articles: a topic with fewer in a window is not given out.
        model: chat model that writes labels; None takes the mesh's default.
    """

    duplicate_similarity: float = 0.7
    duplicates_within: str = "3h"
    topic_similarity: float = 0.25
    topic_within: str = "8h"
    window: str = "6h"
    least_articles: int = 2
    model: str | None = None


def monitor_pipeline(articles: str | Iterable[Mapping[str, Any]], options: MonitorOptions | None = None) -> Pipeline:
    """Return the pipeline, which gives the collections ``duplicates``, ``articles`` and ``groups``.

    Args:
        articles: the articles themselves, or a source of them, such as ``nats://articles.>``; each has ``id``, ``at``,
            ``title`` and ``text``.
    """
    options = options or MonitorOptions()
    pipeline = Pipeline("monitor", 1, checkpoint_interval="2s")
    where: dict[str, Any] = (
        {"uri": articles} if isinstance(articles, str) else {"records": [dict(one) for one in articles]}
    )
    incoming = pipeline.source(
        id="incoming", schema=ARTICLE_SCHEMA, event_time="at", lateness="1m", on_error="dlq", **where
    )
    vectors = incoming.embed("{title}. {text}", id="vectors", batch=16)
    _add_duplicates(pipeline, vectors, options)
    _add_groups(vectors, options)
    return pipeline


def _add_duplicates(pipeline: Pipeline, vectors: Stream, options: MonitorOptions) -> None:
    # The stream with itself: each article with those before it.
    earlier = vectors.filter("id IS NOT NULL", id="earlier")
    pairs = pipeline.add(
        "window_join",
        inputs=[vectors, earlier],
        id="alike",
        within=[f"-{options.duplicates_within}", "0s"],
        threshold=options.duplicate_similarity,
    )
    once = pairs.filter("at_right < at OR (at_right = at AND id_right < id)", id="once")
    once.sink(
        f"collection:{DUPLICATES}",
        node_id="duplicates",
        fields=["id", "at", "title", "id_right", "at_right", "title_right", "similarity"],
    )


def _add_groups(vectors: Stream, options: MonitorOptions) -> None:
    members = vectors.cluster(options.topic_similarity, id="topics", within=options.topic_within, into="topic")
    plain = members.map(id="members", drop=["vector", "text"])
    plain.sink(f"collection:{MEMBERS}", node_id="articles")
    counted = (
        plain.key_by("topic", id="by_topic")
        .window(id="windows", tumbling=options.window)
        .aggregate(
            id="counts", articles="count()", first_seen="min(at)", last_seen="max(at)", ids="list(id)",
            titles="list(title)",
        )
        .filter(f"articles >= {options.least_articles}", id="groups_of_some")
        .map({"headlines": _headlines()}, id="headlines")
    )  # fmt: skip
    labelled = counted.llm(
        _LABEL_PROMPT,
        id="labels",
        into="written",
        model=options.model,
        max_tokens=20,
        temperature=0,
        concurrency=8,
        cache="7d",
        on_error="dlq",
    )
    first_line = labelled.map({"label": "SPLIT_PART(TRIM(written), '\n', 1)"}, id="first_line")
    about = "CASE WHEN STRPOS(label, ' about ') > 0 THEN SPLIT_PART(label, ' about ', 2) ELSE label END"
    topic = "label"
    for mark in _BEHIND:
        topic = f"SPLIT_PART({topic}, '{mark}', 1)"
    trimmed = f"TRIM(BOTH ' \"''*' FROM {topic})"
    labels = first_line.map({"label": about}, id="about").map(
        {"label": trimmed}, id="label", drop=["written", "headlines"]
    )
    labels.sink(f"collection:{GROUPS}", node_id="groups")


def _headlines() -> str:
    """Return an expression for the first headlines of a group; the model loses its way in more."""
    first = ", ".join(f"ARRAY_GET(titles, {place})" for place in range(1, _HEADLINES + 1))
    return f"CONCAT_WS('. ', {first})"
