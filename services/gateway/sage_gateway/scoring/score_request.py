"""A request of vLLM's score API, as the rankings that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field
from typing_extensions import TypedDict

from sage_common.errors import InvalidRequestError
from sage_control_plane.request.body_fields import wrong_field
from sage_gateway.dialects.fields import Fields, not_served

# Of vLLM's two spellings of each side.
_FIRST = ("text_1", "queries")
_SECOND = ("text_2", "documents")
# Read by embedding engines and rerankers; `vllm` takes them of `/v1/rerank` too.
_PASSED_ON = ("truncate", "truncation_side", "truncate_prompt_tokens", "user")
MOST_PAIRS = 2048
_Text = Annotated[str, Field(min_length=1)]
_Side = _Text | Annotated[list[_Text], Field(min_length=1, max_length=MOST_PAIRS)] | None


class ScoreBody(TypedDict, total=False):
    """Body of ``/v1/score``: one text with any number, or as many with as many; each side by one of its names."""

    model: str | None
    text_1: _Side
    queries: _Side
    text_2: _Side
    documents: _Side
    truncate: Any
    truncation_side: Any
    truncate_prompt_tokens: Any
    user: Any


class Ranking(NamedTuple):
    """One ranking: a query, the documents that it is paired with, and the numbers of those pairs."""

    query: str
    documents: list[str]
    pairs: list[int]


class ScoreRequest(NamedTuple):
    """A request, read.

    Attributes:
        model: None where the request names none.
        rankings: that give the scores of all pairs.
        pairs: how many there are.
        options: fields of each ranking's body.
    """

    model: str | None
    rankings: list[Ranking]
    pairs: int
    options: dict[str, Any]

    def body(self, ranking: Ranking) -> dict[str, Any]:
        """Return the body of a ranking for ``/v1/rerank``."""
        model = {} if self.model is None else {"model": self.model}
        return {**model, "query": ranking.query, "documents": ranking.documents, **self.options}


def read_score_request(value: dict[str, Any]) -> ScoreRequest:
    """Read a parsed body. Raises InvalidRequestError; ``param`` names the field."""
    fields = Fields(value)
    model = fields.text("model")
    first_name, first = _texts(fields, _FIRST)
    second_name, second = _texts(fields, _SECOND)
    if len(first) not in (1, len(second)):
        raise InvalidRequestError(
            f"{first_name!r} has {len(first)} texts and {second_name!r} has {len(second)}; pair one with any number, "
            "or as many with as many",
            param=first_name,
        )
    if len(second) > MOST_PAIRS:
        raise InvalidRequestError(
            f"{second_name!r} holds {len(second)} texts, the limit is {MOST_PAIRS}; send several requests",
            param=second_name,
        )
    options = {name: given for name in _PASSED_ON if (given := fields.take(name)) is not None}
    for name in ("priority", "mm_processor_kwargs", "softmax", "activation", "use_activation"):
        if fields.take(name) is not None:
            raise not_served(name, "scores are what '/v1/rerank' gives; X-Request-Priority says how urgent they are")
    fields.finish()
    return ScoreRequest(model, _rankings(first, second), len(second), options)


def _rankings(first: Sequence[str], second: Sequence[str]) -> list[Ranking]:
    """Return one ranking for each text of the first side, however often it is there."""
    queries = [*first] * len(second) if len(first) == 1 else first
    by_query: dict[str, Ranking] = {}
    for number, (query, document) in enumerate(zip(queries, second, strict=True)):
        ranking = by_query.setdefault(query, Ranking(query, [], []))
        ranking.documents.append(document)
        ranking.pairs.append(number)
    return list(by_query.values())


def _texts(fields: Fields, names: Sequence[str]) -> tuple[str, list[str]]:
    """Return the texts of a side, and the name of the field that they are in."""
    given = [(name, value) for name in names if (value := fields.take(name)) is not None]
    if not given:
        raise InvalidRequestError(
            f"'{names[0]}' is needed: a string, or a list of them", code="missing_required_parameter", param=names[0]
        )
    if len(given) > 1:
        raise InvalidRequestError(f"'{names[0]}' and '{names[1]}' say the same; give one of them", param=names[1])
    name, value = given[0]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise wrong_field(name, value, "a string, or a non-empty list of strings")
    for number, text in enumerate(texts):
        if not isinstance(text, str) or not text:
            raise wrong_field(f"{name}[{number}]" if isinstance(value, list) else name, text, "a non-empty string")
    return name, texts
