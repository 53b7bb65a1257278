"""A server that has lost a model, or has no room: another is tried."""

from __future__ import annotations

import pytest
from fixtures.eventually import eventually
from fixtures.outside_mesh import Outside
from fixtures.outside_server import MODEL, answer, says

GONE = {"error": {"message": f"The model `{MODEL}` does not exist.", "type": "NotFoundError", "code": 404}}


@pytest.mark.parametrize("inside", [False, True])
async def test_a_404_on_a_listed_model_has_the_list_read_and_another_engine_tried(
    outside: Outside, inside: bool
) -> None:
    lost = await outside.serve(answer, concurrency=8, read=30.0)
    lost.post = says(GONE, 200 if inside else 404)
    lost.get["/v1/models"] = says({"data": [{"id": "another"}]})
    reads = lost.paths.count("/v1/models")
    good = await outside.serve(answer, concurrency=1)
    while not lost.asked:
        assert (await outside.ask()).text == "hello"
    assert lost.paths.count("/v1/models") > reads
    await eventually(lambda: [card.name for card in outside.engines[0].spec.models] == ["another"], seconds=5)
    asked = len(lost.asked)
    await eventually(lambda: MODEL not in _models(outside, "outside-0"), seconds=5)
    assert (await outside.ask()).text == "hello"
    assert len(lost.asked) == asked
    assert good.asked


async def test_it_goes_elsewhere_even_where_the_list_is_wrong(outside: Outside) -> None:
    lost = await outside.serve(says(GONE, 404), concurrency=8)
    await outside.serve(answer, concurrency=1)
    while not lost.asked:
        assert (await outside.ask()).text == "hello"


async def test_alone_it_stays_a_404_with_the_servers_words(outside: Outside) -> None:
    await outside.serve(says(GONE, 404))
    answered = await outside.ask()
    assert (answered.status, answered.error["message"]) == (404, GONE["error"]["message"])


@pytest.mark.parametrize("status", [429, 503])
async def test_a_full_engine_is_passed_while_another_has_room(outside: Outside, status: int) -> None:
    busy = says({"error": {"message": "full"}}, status, retry_after="7")
    full = await outside.serve(busy, concurrency=8)
    await outside.serve(answer, concurrency=8)
    for _ in range(20):
        assert (await outside.ask()).status == 200
    assert full.asked


@pytest.mark.parametrize("status", [429, 503])
async def test_where_all_are_full_the_servers_words_and_wait_are_the_answer(outside: Outside, status: int) -> None:
    await outside.serve(says({"error": {"message": "full"}}, status, retry_after="7"))
    answered = await outside.ask()
    assert (answered.status, answered.error["message"], answered.headers["retry-after"]) == (status, "full", "7")


async def test_an_engine_that_says_when_to_come_back_is_left_alone_until_then(outside: Outside) -> None:
    busy = says({"error": {"message": "full"}}, 429, retry_after="600")
    full = await outside.serve(busy, concurrency=64)
    await outside.serve(answer, concurrency=8)
    while not full.asked:
        assert (await outside.ask()).status == 200
    asked = len(full.asked)
    for _ in range(20):
        assert (await outside.ask()).status == 200
    assert len(full.asked) == asked


def _models(outside: Outside, engine_id: str) -> list[str]:
    return [card.name for card in outside.mesh.directory.engines[engine_id].spec.models]
