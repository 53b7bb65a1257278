"""Reading a stream of JetStream from any sequence number, and publishing each record once."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import nats
import polars as pl
import pytest
from fixtures.eventually import eventually
from fixtures.nats import NatsProcess, delete_stream, start_nats
from nats.aio.client import Client
from nats.js.api import StreamConfig, SubjectTransform

from sage_common.errors import NotFoundError, TooLargeError, UnprocessableError
from sage_common.service_settings import NatsSettings
from sage_kernel.connectors import nats_source
from sage_kernel.connectors.collections import MemoryCollections
from sage_kernel.connectors.nats_sink import NatsSink, NatsTarget
from sage_kernel.connectors.nats_source import NatsSource, NatsSubject
from sage_kernel.connectors.patience import Patience
from sage_kernel.connectors.source_options import SourceOptions
from sage_kernel.connectors.subject_partitions import SubjectPartitions
from sage_kernel.file_access import ANY_FILE
from sage_kernel.model_port import ModelPort
from sage_kernel.nats_access import LazyNats
from sage_kernel.operator import Position, SourceBatch
from sage_kernel.problems import PositionGoneError
from sage_kernel.run_context import RunContext
from sage_kernel.schema import parse_schema

OPTIONS = SourceOptions(parse_schema({"n": "int", "text": "string"}))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsProcess]:
    process = start_nats(tmp_path_factory.mktemp("nats"))
    yield process
    process.stop()


@pytest.fixture
async def access(server: NatsProcess) -> AsyncIterator[LazyNats]:
    lazy = LazyNats(NatsSettings(url=server.url))
    yield lazy
    await lazy.close()


@pytest.fixture
async def client(server: NatsProcess) -> AsyncIterator[Client]:
    connected = await nats.connect(server.url)
    js = connected.jetstream()
    for name in [info.config.name for info in await js.streams_info()]:
        await delete_stream(js, str(name))
    await js.add_stream(name="T", subjects=["t.>"])
    yield connected
    await connected.close()


def context(access: LazyNats, warnings: list[tuple[str, str]] | None = None) -> RunContext:
    async def dead_letter(letter: Any) -> None:
        raise AssertionError(letter)

    said = warnings if warnings is not None else []
    return RunContext(
        models=cast(ModelPort, None), files=ANY_FILE, collections=MemoryCollections(), cache_dir=None,
        warn=lambda node, message: said.append((node, message)), skip=lambda skipped: None, dead_letter=dead_letter,
        now_us=lambda: 0, run_id="run", nats=access,
    )  # fmt: skip


def source(access: LazyNats, options: SourceOptions = OPTIONS, **wanted: Any) -> NatsSource:
    subject = NatsSubject("t.>", **{"is_bounded": True, **wanted})
    return NatsSource(subject, options, access, Patience(context(access), "source", "NATS", 5_000_000))


async def read(reading: NatsSource, position: Position = None) -> list[SourceBatch]:
    async def all_of_it() -> list[SourceBatch]:
        return [batch async for batch in reading.batches(None, position)]

    return await asyncio.wait_for(all_of_it(), 30)


def numbers(batches: Sequence[SourceBatch]) -> list[int]:
    return [n for batch in batches for n in batch.frame["n"]]


async def publish(client: Client, records: Sequence[int], subject: str = "t.a") -> None:
    js = client.jetstream()
    for n in records:
        await js.publish(subject, json.dumps({"n": n, "text": f"text {n}"}).encode())


async def test_every_form_of_message_is_read_in_order_and_bad_ones_are_refused_by_their_number(
    client: Client, access: LazyNats
) -> None:
    js = client.jetstream()
    frame = pl.DataFrame({"n": [4, 5], "text": ["a", "b"], "more": [1, 2]})
    stream, file = io.BytesIO(), io.BytesIO()
    frame.write_ipc_stream(stream)
    frame.with_columns(pl.col("n") + 2).write_ipc(file)
    for data in (
        b'{"n": 1,\n"text": "x"}', b'[{"n": 2}, {"n": 3}]', stream.getvalue(), file.getvalue(), b"", b"\xff" * 4,
        b"nonsense", b'{"n": "x"}', b'[{"n": 8}, {"n": "y"}]', b'{"n": 9}',
    ):  # fmt: skip
        await js.publish("t.a", data)
    batches = await read(source(access))
    assert numbers(batches) == list(range(1, 10))
    refused = [refused for batch in batches for refused in batch.refused]
    assert sorted(r.frame["place"][0] for r in refused) == [f"message {n} of T" for n in (5, 6, 7, 8, 9)]


async def test_any_position_goes_on_as_one_pass_does(client: Client, access: LazyNats) -> None:
    await publish(client, range(300))
    await publish(client, range(300, 320), "t.b")
    for after in (0, 1, 150, 299, 319, 320):
        position = {**(await read(source(access)))[0].position, "after": after}  # type: ignore[dict-item]
        assert numbers(await read(source(access), json.loads(json.dumps(position)))) == list(range(after, 320))


async def test_a_bounded_source_ends_with_what_was_there_when_it_began(client: Client, access: LazyNats) -> None:
    await publish(client, range(5))
    first = (await read(source(access)))[0].position
    await publish(client, range(5, 10))
    assert numbers(await read(source(access), first)) == list(range(5))
    assert numbers(await read(source(access))) == list(range(10))


async def test_an_empty_subject_ends_at_once(client: Client, access: LazyNats) -> None:
    assert numbers(await read(source(access))) == []
    await publish(client, [1])
    other = NatsSource(
        NatsSubject("t.nobody", is_bounded=True), OPTIONS, access, Patience(context(access), "s", "NATS", 0)
    )
    assert numbers(await read(other)) == []


async def test_an_unbounded_source_goes_on_with_new_messages_and_past_those_of_others(
    client: Client, access: LazyNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_source, "_LOOK_SECONDS", 0.05)
    await publish(client, [1])
    reading = NatsSource(NatsSubject("t.a"), OPTIONS, access, Patience(context(access), "s", "NATS", 0))
    seen: list[int] = []
    positions: list[Any] = []

    async def follow() -> None:
        async for batch in reading.batches(None, None):
            seen.extend(batch.frame["n"])
            positions.append(batch.position)

    following = asyncio.create_task(follow())
    await eventually(lambda: seen == [1])
    await publish(client, [2])
    await eventually(lambda: seen == [1, 2])
    await publish(client, range(10), "t.other")
    await eventually(lambda: positions[-1]["after"] == 12)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


@pytest.fixture
async def partitioned(client: Client) -> int:
    """Publish 300 records to a stream whose subjects the server partitions by their second token."""
    js = client.jetstream()
    mapping = SubjectTransform(src="keyed.*", dest="keyed.{{partition(4,1)}}.{{wildcard(1)}}")
    await js.add_stream(StreamConfig(name="K", subjects=["keyed.*"], subject_transform=mapping))
    for n in range(300):
        await js.publish(f"keyed.k{n % 37}", json.dumps({"n": n, "text": f"k{n % 37}"}).encode())
    return 300


def partitions(access: LazyNats, **wanted: Any) -> NatsSource:
    parted = SubjectPartitions("keyed.{partition}.>", 4, ("text",))
    wanted = {"is_bounded": True, "stream": "K", "partitions": parted, **wanted}
    return NatsSource(
        NatsSubject("keyed.*.>", **wanted), OPTIONS, access, Patience(context(access), "source", "NATS", 5_000_000)
    )


async def test_partitions_of_the_server_are_splits_that_share_no_key(
    client: Client, access: LazyNats, partitioned: int
) -> None:
    reading = partitions(access)
    splits = await reading.splits()
    texts: list[set[str]] = []
    read_numbers: list[int] = []
    for split in splits:
        batches = [batch async for batch in reading.batches(split, None)]
        assert not any(batch.refused for batch in batches)
        texts.append({text for batch in batches for text in batch.frame["text"]})
        read_numbers += numbers(batches)
    assert len(texts) == 4
    assert all(texts)
    assert sum(map(len, texts)) == 37
    assert sorted(read_numbers) == list(range(partitioned))
    # Those of one task are read together, in the order of their stream, from any position.
    both = reading.joined([splits[1], splits[3]])
    batches = [batch async for batch in reading.batches(both, None)]
    assert {text for batch in batches for text in batch.frame["text"]} == texts[1] | texts[3]
    wanted = numbers(batches)
    assert wanted == sorted(wanted)
    rest = [batch async for batch in reading.batches(both, {**batches[0].position, "after": 150})]  # type: ignore[dict-item]
    assert numbers(rest) == [n for n in wanted if n >= 150]
    assert reading.joined([None]) is None


async def test_a_record_whose_field_was_not_what_the_server_hashed_is_refused(
    client: Client, access: LazyNats, partitioned: int
) -> None:
    js = client.jetstream()
    elsewhere = next(f"x{n}" for n in range(100) if SubjectPartitions("", 4, ("text",)).partition_of([f"x{n}"]) != 0)
    at_home = next(f"k{n}" for n in range(37) if SubjectPartitions("", 4, ("text",)).partition_of([f"k{n}"]) == 0)
    for text in (elsewhere, None, at_home):
        await js.publish(f"keyed.{at_home}", json.dumps({"n": 1000, "text": text}).encode())
    batches = [batch async for batch in partitions(access).batches([0], None)]
    assert numbers(batches).count(1000) == 1
    refused = [refused for batch in batches for refused in batch.refused]
    assert sum(r.frame.height for r in refused) == 2
    assert "partition_by" in refused[0].error.message


async def test_what_a_bounded_stream_holds_is_counted_where_a_message_is_a_record(
    client: Client, access: LazyNats
) -> None:
    await publish(client, range(5))
    await publish(client, range(2), "t.b")
    assert await source(access).count() == 7
    with pytest.raises(UnprocessableError, match="never ends"):
        await source(access, is_bounded=False).count()
    await client.jetstream().purge_stream("T")
    assert await source(access).count() == 0
    await client.jetstream().publish("t.a", b'[{"n": 2}, {"n": 3}]')
    with pytest.raises(UnprocessableError, match="when they are read"):
        await source(access).count()


async def test_what_was_purged_made_again_or_deleted_is_an_error_with_a_remedy(
    client: Client, access: LazyNats
) -> None:
    js = client.jetstream()
    await publish(client, range(10))
    position = {**(await read(source(access)))[0].position, "after": 3}  # type: ignore[dict-item]
    await js.purge_stream("T", keep=2)
    with pytest.raises(PositionGoneError, match=r"begins with message 9, and message 4 was next.*; start again"):
        await read(source(access), position)
    assert numbers(await read(source(access), {**position, "after": 8})) == [8, 9]
    await delete_stream(js, "T")
    with pytest.raises(NotFoundError, match=r"no stream stores 't\.>'; make one with `nats stream add"):
        await read(source(access), position)
    await js.add_stream(name="T", subjects=["t.>"])
    await publish(client, range(10))
    with pytest.raises(PositionGoneError, match="was made again"):
        await read(source(access), position)


async def test_a_lost_consumer_is_made_again_where_it_was(
    client: Client, access: LazyNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_source, "_LOOK_SECONDS", 0.05)
    js = client.jetstream()
    seen: list[int] = []

    async def follow() -> None:
        async for batch in source(access, is_bounded=False).batches(None, None):
            seen.extend(batch.frame["n"])

    following = asyncio.create_task(follow())
    await publish(client, [0])
    await eventually(lambda: seen == [0])
    for round_ in range(1, 4):
        for info in await js.consumers_info("T"):
            await js.delete_consumer("T", info.name)
        await publish(client, [round_])
        await eventually(lambda: seen == list(range(round_ + 1)))  # noqa: B023
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


async def test_a_server_that_is_killed_and_comes_back_costs_no_record(tmp_path: Path) -> None:
    server = start_nats(tmp_path)
    access = LazyNats(NatsSettings(url=server.url))
    connected = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    js = connected.jetstream()
    await js.add_stream(name="T", subjects=["t.>", "o.>"])
    warnings: list[tuple[str, str]] = []
    sink = NatsSink(
        NatsTarget("o.{n}", id="{n}"), access, Patience(context(access, warnings), "sink", "NATS", 60_000_000)
    )
    seen: list[int] = []

    async def follow() -> None:
        async for batch in source(access, is_bounded=False).batches(None, None):
            await sink.write(batch.frame)
            seen.extend(batch.frame["n"])

    following = asyncio.create_task(follow())
    await publish(connected, range(50))
    await eventually(lambda: len(seen) == 50)
    server.kill()
    await asyncio.sleep(0)
    server.start_again()
    await eventually(lambda: connected.is_connected and connected.stats["reconnects"] > 0)
    for n in range(50, 100):
        while True:
            try:
                await js.publish("t.a", json.dumps({"n": n}).encode(), headers={"Nats-Msg-Id": f"in {n}"})
                break
            except (nats.errors.Error, nats.js.errors.Error):
                continue
    await eventually(lambda: len(seen) >= 100)
    assert seen == list(range(100))
    await sink.flush()
    info = await js.stream_info("T", subjects_filter="o.>")
    assert info.state.subjects is not None
    assert set(info.state.subjects.values()) == {1}
    assert len(info.state.subjects) == 100
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    await access.close()
    await connected.close()
    server.stop()


def sink(access: LazyNats, **target: Any) -> NatsSink:
    return NatsSink(NatsTarget(**target), access, Patience(context(access), "sink", "NATS", 500_000))


async def stored(client: Client, subject: str = "t.>") -> list[tuple[str, Any]]:
    js = client.jetstream()
    state = (await js.stream_info("T")).state
    messages = [await js.get_msg("T", seq) for seq in range(state.first_seq, state.last_seq + 1)]
    return [(str(message.subject), json.loads(message.data or b"null")) for message in messages]


async def test_records_go_to_the_subject_of_their_fields(client: Client, access: LazyNats) -> None:
    frame = pl.DataFrame({"n": [1, 2], "text": ["a", "b"]})
    writing = sink(access, subject="t.{text}", fields=("n",))
    await writing.write(frame)
    assert await stored(client) == [("t.a", {"n": 1}), ("t.b", {"n": 2})]
    with pytest.raises(UnprocessableError, match="no subject of NATS"):
        await writing.write(pl.DataFrame({"n": [3], "text": ["*"]}))
    with pytest.raises(TooLargeError, match="choose fewer 'fields'"):
        await sink(access, subject="t.x").write(pl.DataFrame({"text": ["x" * 17_000_000]}))
    await writing.close()


async def test_an_id_is_published_once_beyond_the_memory_of_the_server(client: Client, access: LazyNats) -> None:
    js = client.jetstream()
    config = (await js.stream_info("T")).config
    await js.update_stream(replace(config, duplicate_window=0.1))
    frame = pl.DataFrame({"n": range(2000)})
    first = sink(access, subject="t.a", id="{n}")
    await first.write(frame[:500])
    state = await first.flush()
    await first.write(frame[500:1500])
    await first.close()
    await asyncio.sleep(0.3)  # the server forgets the ids
    again = sink(access, subject="t.a", id="{n}")
    await again.restore(state)
    await again.write(frame[500:])
    await again.close()
    assert [record["n"] for _, record in await stored(client)] == list(range(2000))


async def test_arrow_messages_hold_many_records(client: Client, access: LazyNats) -> None:
    writing = sink(access, subject="t.a", format="arrow")
    await writing.write(pl.DataFrame({"n": range(100_000), "text": ["some text"] * 100_000}))
    await writing.close()
    assert (await client.jetstream().stream_info("T")).state.messages < 20
    assert numbers(await read(source(access))) == list(range(100_000))


async def test_a_subject_that_no_stream_stores_is_an_error_with_a_remedy(client: Client, access: LazyNats) -> None:
    with pytest.raises(NotFoundError, match=r"no stream stores 'nowhere\.\*'; make one with"):
        await sink(access, subject="nowhere.{n}").write(pl.DataFrame({"n": [1]}))
