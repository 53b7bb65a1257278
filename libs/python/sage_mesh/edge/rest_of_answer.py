"""What is left of an answer whose stream has ended too soon, or is to end now."""

from __future__ import annotations

from sage_control_plane.request.request import Endpoint
from sage_mesh.edge.answer_stream import AnswerStream
from sage_mesh.edge.continuation import ContinuationPlan, plan_continuation
from sage_mesh.edge.partial_answer import NotResumableError, PartialAnswer, read_partial_answer
from sage_mesh.reply import TokenUsage


def plan_rest(
    endpoint: Endpoint, body: bytes, stream: AnswerStream | None, counted: TokenUsage
) -> tuple[PartialAnswer, ContinuationPlan]:
    """Read what the consumer has or is about to get, and plan how it goes on.

    Args:
        body: as the caller sent it.
        stream: the answer so far; None where it is no stream.
        counted: what the engine had counted where the stream ended; zeros where it did not say.

    Raises:
        NotResumableError: it cannot be continued; the message says why.
    """
    if stream is None or not stream.record.complete:
        raise NotResumableError("it is not resumable")
    delivered = read_partial_answer(stream.record.events())
    if counted.completion_tokens and delivered.usage is None:
        # The engine's own count, up to where it broke off, is better than one made from the text.
        delivered.tokens, delivered.usage = counted.completion_tokens, counted
    ids = stream.record.tokens()
    if ids:
        delivered.tokens = len(ids) + delivered.end_tokens
    return delivered, plan_continuation(endpoint, body, delivered)
