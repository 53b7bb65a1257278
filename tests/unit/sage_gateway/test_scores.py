"""Scores of pairs: every form of asking, and what is refused."""

from __future__ import annotations

from typing import Any

import aiohttp
import orjson
import pytest
from fixtures.engines import EMBEDDING_MODEL
from fixtures.mesh import Mesh

from sage_common.errors import EngineFailedError


async def score(http: aiohttp.ClientSession, path: str = "/v1/score", **body: Any) -> tuple[int, dict[str, Any]]:
    async with http.post(path, json={"model": EMBEDDING_MODEL, **body}) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("path", ["/v1/score", "/score"])
async def test_one_text_is_scored_with_each_of_several(http: aiohttp.ClientSession, mesh: Mesh, path: str) -> None:
    status, answer = await score(http, path, text_1="q", text_2=["ab", "abcd", "abc"])
    assert status == 200
    assert answer["object"] == "list"
    assert answer["model"] == EMBEDDING_MODEL
    assert answer["id"].startswith("score-")
    # The engine scores a document by its length.
    assert answer["data"] == [
        {"index": 0, "object": "score", "score": 0.02},
        {"index": 1, "object": "score", "score": 0.04},
        {"index": 2, "object": "score", "score": 0.03},
    ]
    assert answer["usage"]["total_tokens"] == 3
    assert len(mesh.engine.jobs) == 1


async def test_texts_are_scored_pair_by_pair_and_equal_ones_together(http: aiohttp.ClientSession, mesh: Mesh) -> None:
    status, answer = await score(http, queries=["p", "q", "p"], documents=["a", "ab", "abc"])
    assert status == 200
    assert [one["score"] for one in answer["data"]] == [0.01, 0.02, 0.03]
    asked = sorted((orjson.loads(job.body)["query"], orjson.loads(job.body)["documents"]) for job in mesh.engine.jobs)
    assert asked == [("p", ["a", "abc"]), ("q", ["ab"])]


async def test_two_strings_are_one_pair_and_options_are_passed_on(http: aiohttp.ClientSession, mesh: Mesh) -> None:
    status, answer = await score(http, text_1="q", text_2="abc", truncate_prompt_tokens=-1, user=None)
    assert status == 200
    assert [one["score"] for one in answer["data"]] == [0.03]
    assert orjson.loads(mesh.engine.jobs[-1].body) == {
        "model": EMBEDDING_MODEL,
        "query": "q",
        "documents": ["abc"],
        "truncate_prompt_tokens": -1,
    }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"text_2": "a"}, "text_1"),
        ({"text_1": "a"}, "text_2"),
        ({"text_1": "a", "text_2": []}, "text_2"),
        ({"text_1": ["a", "b"], "text_2": "c"}, "text_1"),
        ({"text_1": ["a", "b"], "text_2": ["c", "d", "e"]}, "text_1"),
        ({"text_1": "a", "text_2": ["b", ""]}, "text_2[1]"),
        ({"text_1": {"content": []}, "text_2": "b"}, "text_1"),
        ({"text_1": "a", "queries": "a", "text_2": "b"}, "queries"),
        ({"text_1": "a", "text_2": ["b"] * 2049}, "text_2"),
        ({"text_1": "a", "text_2": "b", "top_n": 1}, "top_n"),
        ({"text_1": "a", "text_2": "b", "activation": False}, "activation"),
    ],
)
async def test_what_is_wrong_is_refused_by_name(http: aiohttp.ClientSession, body: dict[str, Any], param: str) -> None:
    status, answer = await score(http, **body)
    assert status == 400
    assert answer["error"]["param"] == param


async def test_an_unknown_model_is_not_found(http: aiohttp.ClientSession) -> None:
    status, answer = await score(http, model="nope", text_1="a", text_2="b")
    assert (status, answer["error"]["code"]) == (404, "model_not_found")


async def test_a_ranking_that_leaves_a_document_out_is_the_engines_failure(
    http: aiohttp.ClientSession, mesh: Mesh
) -> None:
    async def rank_one(job: Any, reply: Any) -> None:
        reply.head(1)
        reply.data(b'{"results":[{"index":0,"relevance_score":0.5}]}')

    mesh.engine.behaviour = rank_one
    status, answer = await score(http, text_1="a", text_2=["b", "c"])
    assert status == 502
    assert answer["error"]["message"] == EngineFailedError("the engine ranked 1 of 2 documents").message
