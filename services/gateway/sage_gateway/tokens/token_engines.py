"""Asking the engines of a model for its tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from grpc.aio import Channel

from sage.inference.v1 import tokens_pb2, tokens_pb2_grpc
from sage_client.management.service_calls import ListInstances, ServiceCalls
from sage_common.errors import InvalidRequestError, SageError, UnavailableError, UnimplementedError
from sage_control_plane.request.catalog import ModelCatalog
from sage_control_plane.request.engine_state import EnginePhase, EngineState
from sage_control_plane.request.request import Endpoint
from sage_mesh.directory import EngineDirectory

# An embedding model has none of the first two.
_ENDPOINTS = (Endpoint.CHAT_COMPLETIONS, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS, Endpoint.RERANK)

Ask = Callable[[Channel, str], Awaitable[bytes]]


class TokenEngines:
    """Finds an engine of a model that has a tokenizer, and asks it through its executor.

    Args:
        token: what services are called with; empty for none.
        served_name: returns the served model that a name leads to.
    """

    def __init__(
        self,
        directory: EngineDirectory,
        list_instances: ListInstances,
        token: str,
        served_name: Callable[[str], str] = str,
    ) -> None:
        self._directory = directory
        self._served_name = served_name
        self._calls = ServiceCalls(list_instances, token)

    def name_of(self, model: str) -> str:
        """Return a model's own name. Raises SageError where there is no such model, or none at all."""
        return _entry_name(self._directory.catalog, self._served_name(model))

    async def tokenize(self, name: str, body: bytes) -> bytes:
        """Return the tokens of a text or a chat, in vLLM's JSON.

        Raises:
            UnimplementedError: no engine of the model has a tokenizer to ask.
            UnavailableError: none is ready.
            SageError: what the engine said.
        """

        async def ask(channel: Channel, engine_id: str) -> bytes:
            request = tokens_pb2.TokenizeRequest(engine_id=engine_id, body=body)
            return bytes((await _stub(channel).Tokenize(request)).body)

        return await self._ask_any(name, ask)

    async def detokenize(self, name: str, body: bytes) -> bytes:
        """Return the text of tokens, in vLLM's JSON. Raises as ``tokenize``."""

        async def ask(channel: Channel, engine_id: str) -> bytes:
            request = tokens_pb2.DetokenizeRequest(engine_id=engine_id, body=body)
            return bytes((await _stub(channel).Detokenize(request)).body)

        return await self._ask_any(name, ask)

    async def _ask_any(self, name: str, ask: Ask) -> bytes:
        failure: SageError = UnavailableError(
            f"no engine of {name!r} is ready; `sage status` shows what they wait for",
            code="engine_not_ready",
            retry_after_seconds=1,
        )
        for state in self._ready(name):
            try:
                return await self._ask(state, ask)
            except (UnavailableError, UnimplementedError) as error:
                failure = error
        if isinstance(failure, UnimplementedError):
            raise UnimplementedError(
                f"model {name!r} has no tokenizer to ask: {failure.message}", code="no_tokenizer", param="model"
            )
        raise failure

    async def _ask(self, state: EngineState, ask: Ask) -> bytes:
        instance = await self._calls.instance(state.executor_id)
        if instance is None:
            raise UnavailableError(f"the executor of engine {state.spec.engine_id!r} is not registered")
        return await self._calls.at(instance, lambda channel: ask(channel, state.spec.engine_id))

    def _ready(self, name: str) -> list[EngineState]:
        return [
            state
            for _, state in sorted(self._directory.engines.items())
            if state.phase is EnginePhase.READY and any(card.name == name for card in state.spec.models)
        ]


def _entry_name(catalog: ModelCatalog, model: str) -> str:
    failure: SageError | None = None
    for endpoint in _ENDPOINTS:
        try:
            return catalog.resolve(model, endpoint).card.name
        except (InvalidRequestError, UnavailableError) as error:
            # It is for something else, or none was named and none is for this.
            failure = failure or error
    assert failure is not None
    raise failure


def _stub(channel: Channel) -> tokens_pb2_grpc.TokenServiceStub:
    return tokens_pb2_grpc.TokenServiceStub(channel)  # type: ignore[no-untyped-call]
