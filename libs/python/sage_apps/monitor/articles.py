"""The articles that come with the application: those of one day, with their topics and which tell the same."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import orjson

from sage_apps.catalogue import data_folder
from sage_apps.record_times import time_of


class Article(NamedTuple):
    """An article as it comes in, with what only an evaluation reads of it.

    Attributes:
        at: when it came, in UTC.
        topic: what it is about; None for one that no other is like.
        story: articles with the same number tell the same in other words.
    """

    id: str
    at: datetime
    topic: str | None
    story: int
    title: str
    text: str


def day_of_articles() -> tuple[Article, ...]:
    """Return the articles of one day in the order in which they came."""
    lines = (data_folder("monitor") / "articles.jsonl").read_bytes().splitlines()
    values = [orjson.loads(line) for line in lines]
    return tuple(Article(**{**value, "at": time_of(value["at"])}) for value in values)


def topic_words() -> dict[str, list[str]]:
    """Return by topic the beginnings of words of which a label that names the topic has at least one."""
    found: dict[str, list[str]] = orjson.loads((data_folder("monitor") / "topics.json").read_bytes())
    return found


def article_records(articles: tuple[Article, ...]) -> list[dict[str, Any]]:
    """Return articles as they come in, without what an evaluation reads."""
    return [{"id": one.id, "at": one.at.isoformat(), "title": one.title, "text": one.text} for one in articles]
