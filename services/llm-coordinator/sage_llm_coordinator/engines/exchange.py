"""What is asked of a server for one request, and how its answer differs from what the caller is to get. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sage_control_plane.request.request import Endpoint
from sage_llm_coordinator.engines.known_servers import CONTINUOUS_USAGE_SERVERS, TOKEN_SERVERS, USAGE_SERVERS
from sage_llm_coordinator.engines.model_names import ModelNames
from sage_llm_coordinator.engines.token_events import with_token_ids
from sage_llm_coordinator.engines.usage_request import AS_ASKED, UsageWish, with_usage
from sage_mesh.engine import EngineRequest
from sage_mesh.upstream.model_field import with_model


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to a server.

    Attributes:
        names: of the model, for the server and for the caller.
        usage: what the caller is not to see of it.
        tokens: whether the server was asked for tokens that the caller is not to see.
        as_chat: whether the answer is a completion that is to reach the caller as a chat.
    """

    path: str
    body: bytes
    names: ModelNames
    usage: UsageWish = AS_ASKED
    tokens: bool = False
    as_chat: bool = False

    def from_tokens(self, body: bytes, endpoint: Endpoint) -> Exchange:
        """The same, where the answer goes on from tokens, which only a completion can."""
        return replace(self, path=Endpoint.COMPLETIONS.path, body=body, as_chat=endpoint is Endpoint.CHAT_COMPLETIONS)


def plan_exchange(job: EngineRequest, owner: str) -> Exchange:
    """Plan the request for a job.

    Args:
        owner: what the server calls itself in /v1/models, by which is known what it can tell.
    """
    asked = with_model(job.body, job.model)
    exchange = Exchange(job.endpoint.path, asked, ModelNames.of(job, asked))
    classification = job.classification
    if classification is None or not (classification.streaming and classification.generates):
        return exchange
    body, usage, tokens = exchange.body, AS_ASKED, False
    if owner in USAGE_SERVERS:
        body, usage = with_usage(body, continuous=owner in CONTINUOUS_USAGE_SERVERS)
    if owner in TOKEN_SERVERS and classification.resumable:
        with_ids = with_token_ids(body)
        body, tokens = with_ids, with_ids is not body
    return replace(exchange, body=body, usage=usage, tokens=tokens)
