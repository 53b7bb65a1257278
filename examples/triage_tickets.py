"""Tickets published to NATS, sorted by a model, and counted by topic and minute while they come in:

python examples/triage_tickets.py [nats://127.0.0.1:4222]

Needs a running mesh (`sage up`). The job is submitted as anyone can, by publishing its YAML; it runs on the mesh until
this program has seen the counts and cancels it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from sage_common.service_settings import NatsSettings
from sage_platform import subjects
from sage_platform.nats_connection import connect

PIPELINE = Path(__file__).with_name("pipelines") / "triage_tickets.yaml"
TEXTS = (
    "My parcel has not arrived and the tracking page is empty.",
    "You have charged my card twice, please send the money back at once!",
    "The lamp flickers when it is cold. Is there a replacement?",
    "Where is my order? It was to come on Monday.",
)
MINUTES = 3
TICKETS_A_MINUTE = 8
LONGEST_WAIT_SECONDS = 180.0


async def main(settings: NatsSettings) -> None:
    """Publish tickets, submit the job, print the counts of whole minutes as they come."""
    client = await connect(settings, name="triage example")
    js = client.jetstream()
    for stream, stored in (("TICKETS", "tickets.>"), ("TICKET_STATS", "ticket-stats")):
        # Made anew: a stream keeps in mind for two minutes which counts it has.
        with contextlib.suppress(NotFoundError):
            await js.delete_stream(stream)
        await js.add_stream(name=stream, subjects=[stored])
    stats = await js.subscribe("ticket-stats", ordered_consumer=True)
    job_id = f"triage-{datetime.now():%H%M%S}"
    headers = {"Sage-Job-Id": job_id}
    await js.publish(subjects.JOBS_SUBMIT, PIPELINE.read_bytes(), headers=headers)
    sys.stdout.write(f"submitted {job_id}; `sage job watch {job_id}` follows it\n")
    publishing = asyncio.create_task(publish_tickets(js))
    try:
        seen = 0
        while seen < MINUTES * TICKETS_A_MINUTE:
            message = await stats.next_msg(timeout=LONGEST_WAIT_SECONDS)
            count: dict[str, Any] = json.loads(message.data)
            seen += count["tickets"]
            minute = count["window"]["start"]
            sys.stdout.write(f"{minute}  {count['topic']:<10} {count['tickets']:>3}, {count['urgent']} urgent\n")
        await publishing
    finally:
        publishing.cancel()
        await cancel(client, job_id)
        await client.close()


async def publish_tickets(js: JetStreamContext) -> None:
    """Publish some minutes of tickets, and one that comes later: it closes the last minute."""
    start = (datetime.now(timezone.utc) - timedelta(hours=1)).replace(second=0, microsecond=0)
    step = timedelta(minutes=1) / TICKETS_A_MINUTE
    times = [start + number * step for number in range(MINUTES * TICKETS_A_MINUTE)]
    for number, at in enumerate([*times, times[-1] + timedelta(minutes=2)]):
        ticket = {"id": f"t{number}", "at": at.isoformat(), "text": TEXTS[number % len(TEXTS)]}
        await js.publish("tickets.shop", json.dumps(ticket).encode())


async def cancel(client: Client, job_id: str) -> None:
    """Cancel the job, as `sage job cancel` does."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "sage_cli", "job", "cancel", job_id)
    await process.wait()


if __name__ == "__main__":
    asyncio.run(main(NatsSettings(url=sys.argv[1]) if len(sys.argv) > 1 else NatsSettings()))
