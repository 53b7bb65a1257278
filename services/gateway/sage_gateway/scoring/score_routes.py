"""``/v1/score``, vLLM's API for scores of pairs: by a reranker, or by the cosine of embeddings, as in ``/v1/rerank``.

Each text of the first side is one ranking, which goes through the ring as any request does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import TypedDict

from sage_common.errors import EngineFailedError
from sage_common.tasks import end_tasks
from sage_control_plane.request.request import Endpoint
from sage_gateway.admission import Admitted, admit, correlation_id_of, wanted_headers
from sage_gateway.asgi import CLIENT_GONE
from sage_gateway.body_reader import BodyReader
from sage_gateway.credentials import Credentials
from sage_gateway.dialects.fields import read_object
from sage_gateway.event_stream import json_answer
from sage_gateway.openapi.headers import INFERENCE_HEADERS
from sage_gateway.openapi.operation import operation, routes_of
from sage_gateway.scoring.score_request import Ranking, ScoreBody, ScoreRequest, read_score_request
from sage_gateway.tenancy.gate import Gate
from sage_mesh import exact_json
from sage_mesh.inference_request import InferenceRequest, new_request_id

# Of one request's rankings, in the ring at the same time.
RANKINGS_AT_ONCE = 32


class Score(TypedDict):
    """The score of one pair."""

    index: int
    object: Literal["score"]
    score: float


class ScoreUsage(TypedDict):
    """Tokens of all pairs."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int


class Scores(TypedDict):
    """The scores of all pairs, in their order."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[Score]
    usage: ScoreUsage


@dataclass(frozen=True, slots=True)
class _Ranked:
    """What a ranking came to: the score of each pair, the model, and the tokens that it took."""

    scores: dict[int, float]
    model: str
    tokens: int


class ScoreRoutes:
    """Serves scores.

    Args:
        now: seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        gate: Gate,
        credentials: Credentials,
        bodies: BodyReader,
        *,
        timeout_seconds: float,
        max_timeout_seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._gate = gate
        self._credentials = credentials
        self._bodies = bodies
        self._timeout_seconds = timeout_seconds
        self._max_timeout_seconds = max_timeout_seconds
        self._now = now

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return routes_of(self)

    @operation("POST", "/v1/score", "Score pairs of texts", body=ScoreBody, answer=Scores, headers=INFERENCE_HEADERS)
    @operation("POST", "/score", "Score pairs of texts", body=ScoreBody, answer=Scores, headers=INFERENCE_HEADERS)
    async def _score(self, request: Request) -> Response:
        headers = wanted_headers(request.scope)
        admitted = admit(headers, self._credentials)
        asked = read_score_request(read_object(await self._bodies.read(headers, request.receive)))
        room = asyncio.Semaphore(RANKINGS_AT_ONCE)
        correlation_id = correlation_id_of(headers)

        async def rank(ranking: Ranking) -> _Ranked:
            async with room:
                return await self._rank(asked, ranking, admitted, correlation_id)

        tasks = [asyncio.create_task(rank(ranking)) for ranking in asked.rankings]
        gone = asyncio.create_task(_gone(request))
        try:
            ranking: asyncio.Future[list[_Ranked]] = asyncio.gather(*tasks)
            awaited: set[asyncio.Future[Any]] = {ranking, gone}
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if not ranking.done():
                # Nobody reads the answer.
                return Response(status_code=CLIENT_GONE)
            ranked = ranking.result()
        finally:
            await end_tasks(gone, *tasks)
        answer = json_answer(self._document(asked, ranked))
        answer.raw_headers += self._gate.headers(admitted.tenant)
        return answer

    async def _rank(
        self, asked: ScoreRequest, ranking: Ranking, admitted: Admitted, correlation_id: str | None
    ) -> _Ranked:
        reply = await self._gate.submit(
            InferenceRequest(
                correlation_id=correlation_id,
                endpoint=Endpoint.RERANK,
                body=exact_json.write(asked.body(ranking)),
                tenant=admitted.tenant,
                hints=admitted.hints,
                timeout_seconds=min(admitted.timeout_seconds or self._timeout_seconds, self._max_timeout_seconds),
                traceparent=admitted.traceparent,
                key_id=admitted.key_id,
            )
        )
        try:
            return _read_ranking(await reply.read(), ranking, reply.usage.prompt_tokens)
        finally:
            reply.cancel("its scores are not waited for any more")

    def _document(self, asked: ScoreRequest, ranked: list[_Ranked]) -> Scores:
        scores = {number: score for one in ranked for number, score in one.scores.items()}
        tokens = sum(one.tokens for one in ranked)
        return {
            "id": new_request_id().replace("req-", "score-"),
            "object": "list",
            "created": int(self._now()),
            "model": ranked[0].model or asked.model or "",
            "data": [{"index": number, "object": "score", "score": scores[number]} for number in range(asked.pairs)],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
        }


def _read_ranking(body: bytes, ranking: Ranking, tokens: int) -> _Ranked:
    """Read the answer of ``/v1/rerank``. Raises EngineFailedError for one that is none, or leaves out a document."""
    try:
        value = orjson.loads(body)
        scores = {ranking.pairs[one["index"]]: float(one["relevance_score"]) for one in value["results"]}
        counted = (value.get("usage") or {}).get("total_tokens")
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise EngineFailedError(
            f"the engine's ranking cannot be read ({type(error).__name__}: {error}): {body[:80]!r}"
        ) from None
    if len(scores) != len(ranking.pairs):
        raise EngineFailedError(f"the engine ranked {len(scores)} of {len(ranking.pairs)} documents")
    model = value.get("model")
    return _Ranked(scores, model if isinstance(model, str) else "", counted if isinstance(counted, int) else tokens)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
