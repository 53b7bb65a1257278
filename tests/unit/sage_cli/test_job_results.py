"""Results are read from the stream, whole, in order, and once."""

from __future__ import annotations

import orjson
import pytest
from fixtures.nats import NatsProcess
from nats.js.api import StreamConfig

from sage_cli.job_results import read_results
from sage_common.errors import NotFoundError
from sage_common.service_settings import NatsSettings
from sage_platform import subjects
from sage_platform.nats_connection import connect


def piece(collection: str, first: int, count: int) -> dict[str, object]:
    records = [{"n": n} for n in range(first, first + count)]
    return {"job_id": "j", "collection": collection, "first": first, "records": records}


END = {"job_id": "j", "end": True, "collections": {}, "failed_records": 1, "skipped": [], "warnings": []}


@pytest.fixture
async def published(nats_server: NatsProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_NATS_URL", nats_server.url)
    connection = await connect(NatsSettings(url=nats_server.url), name="test")
    js = connection.jetstream()
    await js.add_stream(StreamConfig(name=subjects.RESULTS_STREAM, subjects=[subjects.RESULTS_ALL]))
    bodies = [piece("a", 0, 100), piece("a", 100, 50), piece("b", 0, 3), END]
    for body in bodies:
        await js.publish(subjects.results("j"), orjson.dumps(body))
    await js.publish(subjects.results("other"), orjson.dumps({**piece("a", 0, 1), "job_id": "other"}))
    await connection.close()


@pytest.mark.usefixtures("published")
async def test_every_record_comes_once_and_in_order() -> None:
    found = await read_results("j")
    assert [record["n"] for record in found.collections["a"]] == list(range(150))
    assert [record["n"] for record in found.collections["b"]] == [0, 1, 2]
    assert (found.complete, found.failed_records) == (True, 1)


@pytest.mark.usefixtures("published")
async def test_one_collection_and_a_limit() -> None:
    found = await read_results("j", "a", 120)
    assert {name: len(records) for name, records in found.collections.items()} == {"a": 120}
    assert not (await read_results("other")).complete


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(("job", "collection"), [("none", ""), ("", ""), ("j", "nope")])
async def test_what_is_not_there_is_an_error(job: str, collection: str) -> None:
    with pytest.raises(NotFoundError):
        await read_results(job, collection)
