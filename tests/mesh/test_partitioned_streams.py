"""A stream without end that the server partitions: its job runs on several workers, and a kill costs no window."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import nats
from fixtures.nats import start_nats
from fixtures.worker_processes import until, worker_processes
from nats.js.api import StreamConfig, SubjectTransform

from sage.dataflow.v1 import dataflow_pb2 as pb
from sage_kernel.connectors.subject_partitions import SubjectPartitions

PARTITIONS, SHOPS, WINDOWS, IN_WINDOW = 4, 23, 12, 150
OPTIONS = {"max_tasks": "4", "placement": "spread", "progress_interval_seconds": "0.05", "ack_wait_seconds": "3"}
PIPELINE = {
    "apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "shops"},
    "settings": {"checkpoint_interval": "50ms"},
    "nodes": {
        "orders": {
            "op": "source", "uri": "nats://orders.{partition}.>", "stream": "ORDERS", "partitions": PARTITIONS,
            "partition_by": ["shop"], "schema": {"shop": "string", "ts": "timestamp"}, "event_time": "ts",
        },
        "keyed": {"op": "key_by", "in": ["orders"], "fields": ["shop"]},
        "minutes": {"op": "window", "in": ["keyed"], "tumbling": "1m"},
        "counts": {"op": "aggregate", "in": ["minutes"], "aggs": {"n": "count()"}},
        "out": {"op": "sink", "in": ["counts"], "uri": "collection:out"},
    },
}  # fmt: skip


async def publish(js: Any, window: int, shops: list[str]) -> None:
    for shop in shops:
        order = {"shop": shop, "ts": f"2026-01-01T00:{window:02}:00Z"}
        await js.publish(f"orders.{shop}", json.dumps(order).encode())


async def placed(stub: Any) -> dict[str, int]:
    """Return how many tasks of the job each worker runs, when all of them have a checkpoint."""
    while True:
        tasks = (await stub.ExplainJob(pb.ExplainJobRequest(job_id="shops"))).tasks
        if len(tasks) == PARTITIONS and all(task.state == "running" and task.checkpoint for task in tasks):
            return dict(Counter(task.worker_id for task in tasks))
        await asyncio.sleep(0.05)


async def windows(stub: Any, wanted: int) -> list[tuple[str, str, int]]:
    """Return the results of the job, which goes on, as soon as there are as many."""
    found: list[tuple[str, str, int]] = []
    call = stub.ReadResults(pb.ReadResultsRequest(job_id="shops", follow=True))
    async for piece in call:
        if piece.collection:
            found += [(r["shop"], r["window"]["start"], r["n"]) for r in json.loads(piece.json)]
        if len(found) >= wanted:
            break
    call.cancel()
    return found


async def test_a_partitioned_stream_runs_on_several_workers_and_survives_a_kill(tmp_path: Path) -> None:
    server = start_nats(tmp_path)
    client = await nats.connect(server.url)
    js = client.jetstream()
    mapping = SubjectTransform(src="orders.*", dest=f"orders.{{{{partition({PARTITIONS},1)}}}}.{{{{wildcard(1)}}}}")
    await js.add_stream(StreamConfig(name="ORDERS", subjects=["orders.*"], subject_transform=mapping))
    shops = [f"shop-{number}" for number in range(SHOPS)]
    hashed = SubjectPartitions("", PARTITIONS, ("shop",))
    ends = {hashed.partition_of([shop]): shop for shop in shops}
    assert len(ends) == PARTITIONS
    try:
        async with worker_processes(server.url, tmp_path) as workers:
            processes = {name: await workers.worker(name, **OPTIONS) for name in ("a", "b")}
            async with workers.stub(processes["b"][1]) as stub:
                await stub.SubmitJob(pb.SubmitJobRequest(pipeline=json.dumps(PIPELINE), job_id="shops"))
                await until(stub, "shops", "RUNNING")
                assert await asyncio.wait_for(placed(stub), 30) == {"a": 2, "b": 2}
                wanted: Counter[tuple[str, int]] = Counter()
                for window in range(WINDOWS):
                    batch = [shops[(window * 7 + n * n) % SHOPS] for n in range(IN_WINDOW)]
                    wanted.update((shop, window) for shop in batch)
                    await publish(js, window, batch)
                    if window == WINDOWS // 2:
                        processes["a"][0].kill()
                # What lies behind the last window closes it, in every partition.
                await publish(js, WINDOWS, list(ends.values()))
                found = await asyncio.wait_for(windows(stub, len(wanted)), 60)
                assert sorted(found) == sorted(
                    (shop, f"2026-01-01T00:{window:02}:00+00:00", n) for (shop, window), n in wanted.items()
                )
                assert await asyncio.wait_for(placed(stub), 30) == {"b": 4}
                await stub.CancelJob(pb.CancelJobRequest(job_id="shops"))
    finally:
        await client.close()
        server.stop()
