"""Tickets published to NATS, sorted and counted while they come in, with an alert where a category surges:

python examples/triage_tickets.py [nats://127.0.0.1:4222]

Needs a running mesh (`sage up`). It is the application `sage app triage` on a stream: the job is submitted as anyone
can, by publishing its pipeline, and runs on the mesh until this program has seen an alert and cancels it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from datetime import datetime
from typing import Any

from nats.aio.client import Client
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from sage_apps.triage.tickets import incoming_tickets
from sage_apps.triage.triage_pipeline import ticket_records, triage_pipeline
from sage_common.service_settings import NatsSettings
from sage_platform import subjects
from sage_platform.nats_connection import connect

LONGEST_WAIT_SECONDS = 180.0


async def main(settings: NatsSettings) -> None:
    """Publish a morning's tickets, submit the job, print the first alert."""
    client = await connect(settings, name="triage example")
    js = client.jetstream()
    for stream, stored in (("TICKETS", "tickets.>"), ("TICKET_ALERTS", "ticket-alerts")):
        # Made anew: a stream keeps in mind for two minutes which alerts it has.
        with contextlib.suppress(NotFoundError):
            await js.delete_stream(stream)
        await js.add_stream(name=stream, subjects=[stored])
    alerts = await js.subscribe("ticket-alerts", ordered_consumer=True)
    job_id = f"triage-{datetime.now():%H%M%S}"
    pipeline = triage_pipeline("nats://tickets.>", alerts="nats://ticket-alerts")
    await js.publish(subjects.JOBS_SUBMIT, pipeline.to_yaml().encode(), headers={"Sage-Job-Id": job_id})
    sys.stdout.write(f"submitted {job_id}; `sage job watch {job_id}` follows it\n")
    publishing = asyncio.create_task(publish_tickets(js))
    try:
        message = await alerts.next_msg(timeout=LONGEST_WAIT_SECONDS)
        alert: dict[str, Any] = json.loads(message.data)
        window, tickets = alert["window"], alert["tickets"]
        sys.stdout.write(f"{window['start']} to {window['end']}: {tickets} tickets of {alert['category']}\n")
        sys.stdout.write(f"the last one: {alert['last']}\n")
        await publishing
    finally:
        publishing.cancel()
        await cancel(client, job_id)
        await client.close()


async def publish_tickets(js: JetStreamContext) -> None:
    """Publish the morning that comes with the application, without waiting for its hours to pass."""
    for ticket in ticket_records(incoming_tickets()):
        await js.publish("tickets.shop", json.dumps(ticket).encode())


async def cancel(client: Client, job_id: str) -> None:
    """Cancel the job, as `sage job cancel` does."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "sage_cli", "job", "cancel", job_id)
    await process.wait()


if __name__ == "__main__":
    asyncio.run(main(NatsSettings(url=sys.argv[1]) if len(sys.argv) > 1 else NatsSettings()))
