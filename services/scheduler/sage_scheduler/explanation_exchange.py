"""Collects explanations from every replica: pools move between replicas, and each records its own decisions only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from sage.scheduler.v1 import scheduler_pb2
from sage_platform import subjects
from sage_scheduler.explanations import Explanations

# Longest wait for answers; a dead replica stays registered for some seconds.
ANSWER_SECONDS = 0.5


class ExplanationExchange:
    """Answers the other replicas' queries, and queries them.

    Args:
        replica: id of this replica, which does not query itself over NATS.
        others: returns how many other replicas are registered.
    """

    def __init__(self, connection: Client, replica: str, explanations: Explanations, others: Callable[[], int]) -> None:
        self._connection = connection
        self._replica = replica
        self._explanations = explanations
        self._others = others
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Start to answer queries."""
        self._subscription = await self._connection.subscribe(subjects.EXPLAIN, cb=self._on_query)

    async def stop(self) -> None:
        """Stop answering queries."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    async def explain(self, query: scheduler_pb2.ExplainRequest) -> list[scheduler_pb2.Explanation]:
        """Return every replica's explanations of the requests that the query asks for, the latest decision first."""
        found = self._explanations.of(query)
        others = self._others()
        if others:
            found += await self._ask(query, others)
        return sorted(found, key=lambda explanation: explanation.decided_ms_ago)

    async def _ask(self, query: scheduler_pb2.ExplainRequest, others: int) -> list[scheduler_pb2.Explanation]:
        answers: list[scheduler_pb2.ExplainResponse] = []
        complete = asyncio.Event()

        async def on_answer(message: Msg) -> None:
            answers.append(scheduler_pb2.ExplainResponse.FromString(message.data))
            if len(answers) >= others:
                complete.set()

        inbox = self._connection.new_inbox()
        subscription = await self._connection.subscribe(inbox, cb=on_answer)
        try:
            headers = {subjects.FROM_HEADER: self._replica}
            await self._connection.publish(subjects.EXPLAIN, query.SerializeToString(), inbox, headers)
            await asyncio.wait_for(complete.wait(), ANSWER_SECONDS)
        except asyncio.TimeoutError:
            pass  # the answers that arrived are enough
        finally:
            await subscription.unsubscribe()
        return [explanation for answer in answers for explanation in answer.explanations]

    async def _on_query(self, message: Msg) -> None:
        if (message.headers or {}).get(subjects.FROM_HEADER) == self._replica:
            return
        query = scheduler_pb2.ExplainRequest.FromString(message.data)
        # An empty answer is sent too, since the replica that asks counts them.
        answer = scheduler_pb2.ExplainResponse(explanations=self._explanations.of(query))
        await message.respond(answer.SerializeToString())
