"""Where the objects of stored responses meet."""

from __future__ import annotations

import time
from dataclasses import dataclass

from nats.js.client import JetStreamContext
from starlette.routing import Route

from sage_common.clock import Clock
from sage_gateway.answers_by_key import AnswersByKey
from sage_gateway.config import GatewaySettings
from sage_gateway.credentials import Credentials
from sage_gateway.dialects.openai_responses import OpenAiResponses
from sage_gateway.responses.background_run import BackgroundRuns
from sage_gateway.responses.response_events import ResponseEvents
from sage_gateway.responses.response_keeping import ResponseKeeping
from sage_gateway.responses.response_routes import ResponseRoutes
from sage_gateway.responses.response_store import ResponseStore
from sage_gateway.tenancy.gate import Gate
from sage_platform.marked_work import MarkedWork
from sage_platform.open_marks import OpenMark
from sage_platform.ring import Ring


@dataclass(frozen=True)
class Responses:
    """The Responses API of one gateway."""

    settings: GatewaySettings
    store: ResponseStore
    events: ResponseEvents
    dialect: OpenAiResponses
    gate: Gate
    js: JetStreamContext

    def routes(self, credentials: Credentials, answers: AnswersByKey) -> list[Route]:
        """Return the routes to mount."""
        return ResponseRoutes(self.store, self.events, credentials, answers).routes()

    def worker(self, holder: str, clock: Clock) -> MarkedWork:
        """Start to make responses in the background."""
        runs = BackgroundRuns(self.store, self.events, self.gate, time.time)

        async def run(response: OpenMark) -> None:
            await runs.run(response.tenant, response.record_id)

        slots = self.settings.background_responses_at_once
        return MarkedWork(
            self.js, self.store.marks, "background-responses", run, holder=holder, slots=slots, clock=clock
        )


def assemble_responses(settings: GatewaySettings, ring: Ring, gate: Gate) -> Responses:
    """Return the Responses API of a gateway; nothing is asked of JetStream before it is needed."""
    js = ring.connection.jetstream()
    store = ResponseStore(js, settings.response_retention_days)
    events = ResponseEvents(js, store)
    keeping = ResponseKeeping(
        store, events, timeout_seconds=settings.timeout_seconds, max_timeout_seconds=settings.max_timeout_seconds
    )
    return Responses(settings, store, events, OpenAiResponses(time.time, keeping), gate, js)
