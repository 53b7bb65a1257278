"""The simulated engine with its HTTP API."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from sage_benchmark.engine_http_server import (
    EngineHttpServer,
    HttpRequest,
    ServerConnection,
    render_error,
    render_json,
    render_response,
)
from sage_benchmark.simulated_engine.answer_rendering import AnswerStream, embedding_response
from sage_benchmark.simulated_engine.engine_clock import EngineClock
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig, SimulatedModels
from sage_benchmark.simulated_engine.engine_metrics import EngineMetrics
from sage_benchmark.simulated_engine.engine_model import EngineModel
from sage_benchmark.simulated_engine.engine_record import CANCELLED, COMPLETE, CUT_OFF, EngineRecord, RecordEntry
from sage_benchmark.simulated_engine.engine_work import Emission, EngineWork
from sage_benchmark.simulated_engine.faults import EXIT, FaultDice, Faults, read_faults
from sage_benchmark.simulated_engine.prefix_cache import PrefixCache
from sage_benchmark.simulated_engine.prompt_tokens import prompt_token_ids
from sage_benchmark.simulated_engine.simulated_request import RequestReader, SimulatedRequest
from sage_common.errors import InvalidRequestError
from sage_control_plane.request.features import DEFAULT_BLOCK_BYTES, FeatureExtractor
from sage_control_plane.request.request import Endpoint

POSTS = {endpoint.path: endpoint for endpoint in (Endpoint.CHAT_COMPLETIONS, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS)}
EXIT_STATUS = 70


@dataclass(slots=True)
class ServedRequest:
    """A request whose answer is not complete."""

    request: SimulatedRequest
    connection: ServerConnection
    answer: AnswerStream
    entry: RecordEntry
    first_token_at: float = 0.0
    last_token_at: float = 0.0


class SimulatedEngine:
    """One engine. ``start`` before use.

    Args:
        models: what is served.
        config: the model's figures.
        extract: token estimates and prefix blocks.
        port: to listen on; 0 takes a free one.
        journal: file that the record is written to as well.
        tells_capacity: whether it says how many requests it computes at once, as llama.cpp does.
        cache: its prefix cache; None for one that nobody is told of.

    Attributes:
        record: what it was asked and what it sent.
    """

    def __init__(
        self,
        models: SimulatedModels,
        config: EngineModelConfig,
        extract: FeatureExtractor,
        host: str = "127.0.0.1",
        port: int = 0,
        journal: Path | None = None,
        *,
        tells_capacity: bool = False,
        cache: PrefixCache | None = None,
    ) -> None:
        self._models = models
        self._tells_capacity = tells_capacity
        self._server = EngineHttpServer(self._serve, host, port)
        self._embedding_server: EngineHttpServer | None = None
        self._reader = RequestReader(
            extract,
            config.max_context_tokens,
            config.block_bytes,
            config.block_tokens if config.block_bytes != DEFAULT_BLOCK_BYTES else 0,
        )
        self._clock = EngineClock(EngineModel(config, every_token=True, cache=cache), self._deliver)
        self._metrics = EngineMetrics(self._clock.model, models.llm or models.embedding, lambda: self._clock.now)
        self._dice = FaultDice(Faults())
        self._stalled_until = 0.0
        self._requests: dict[str, ServedRequest] = {}
        self._started = int(time.time())
        self.record = EngineRecord(journal)

    @property
    def url(self) -> str:
        """Base URL without ``/v1``."""
        return self._server.url

    async def start(self) -> None:
        """Listen. OSError where the port is taken."""
        await self._server.open()

    async def open_for_embeddings(self, host: str, port: int) -> str:
        """Listen at a second address that lists the embedding model alone; return its URL. OSError as ``start``."""
        server = EngineHttpServer(self._serve_embeddings, host, port)
        await server.open()
        self._embedding_server = server
        return server.url

    def close(self) -> None:
        """End it; its connections break."""
        self._server.close()
        if self._embedding_server is not None:
            self._embedding_server.close()
        self._clock.stop()
        self.record.close()

    def _serve(self, request: HttpRequest, connection: ServerConnection) -> None:
        """Answer a request, now or when the model says so."""
        path = request.target.decode("latin-1").split("?", 1)[0]
        endpoint = POSTS.get(path)
        try:
            if endpoint is not None and request.method == b"POST":
                self._take(endpoint, request, connection)
                return
            if path == "/health" and self._dice.faults.stall_health and self._clock.now < self._stalled_until:
                return  # no answer: the client's own time-out ends it
            response = self._state(path, request)
        except InvalidRequestError as error:
            response = render_error(400, error.message, "BadRequestError", error.code, error.param)
        connection.write(response)
        connection.finish()

    def _serve_embeddings(self, request: HttpRequest, connection: ServerConnection) -> None:
        if request.target != b"/v1/models":
            self._serve(request, connection)
            return
        connection.write(render_json({"object": "list", "data": self._model_list()[-1:]}))
        connection.finish()

    def _state(self, path: str, request: HttpRequest) -> bytes:
        if path == "/health":
            return render_response(200, b"text/plain", b"")
        if path == "/v1/models":
            return render_json({"object": "list", "data": self._model_list()})
        if path == "/metrics":
            return render_response(200, b"text/plain; version=0.0.4; charset=utf-8", self._metrics.render())
        if path == "/props" and self._tells_capacity:
            return render_json({"total_slots": self._clock.model.config.max_num_seqs})
        if path == "/sim/record":
            return render_json({"requests": [entry.to_json() for entry in self.record.entries]})
        if path == "/sim/faults":
            if request.method == b"POST":
                self._set_faults(request.body)
            return render_json(asdict(self._dice.faults))
        return render_error(404, f"no path {path}", "NotFoundError", "not_found")

    def _model_list(self) -> list[dict[str, object]]:
        # `kinds` is SAGE's own; the OpenAI API does not say what a model is for.
        kinds = ((self._models.llm, ["chat", "generate"]), (self._models.embedding, ["embedding"]))
        context = self._clock.model.config.max_context_tokens
        return [
            {
                "id": name,
                "object": "model",
                "created": self._started,
                "owned_by": "sage-simulated",
                "max_model_len": context,
                "kinds": work,
            }
            for name, work in kinds
            if name
        ]

    def _set_faults(self, body: bytes) -> None:
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise InvalidRequestError(f"the body is not valid JSON: {error.msg}") from None
        if not isinstance(value, dict):
            raise InvalidRequestError("the body must be a JSON object; {} ends all faults")
        faults = read_faults(value)
        self._dice = FaultDice(faults)
        self._clock.set_slowdown(faults.slowdown)
        if faults.stall_seconds:
            self._stalled_until = self._clock.now + faults.stall_seconds
            self._clock.pause(faults.stall_seconds)
        if faults.refuse_seconds:
            self._server.refuse(faults.refuse_seconds)

    # Generation and embedding

    def _take(self, endpoint: Endpoint, http: HttpRequest, connection: ServerConnection) -> None:
        if self._dice.errs():
            status = self._dice.faults.error_status
            connection.write(render_error(status, "injected fault", "InternalServerError", "injected_fault"))
            connection.finish()
            return
        headers = http.headers
        request = self._reader.read(endpoint, headers, http.body)
        model = self._models.embedding if endpoint is Endpoint.EMBEDDINGS else self._models.llm
        if not model or request.model not in ("", model):
            known = [name for name in (self._models.llm, self._models.embedding) if name]
            message = f"{endpoint.path} does not serve the model {request.model!r}; there are {', '.join(known)}"
            connection.write(render_error(404, message, "NotFoundError", "model_not_found", "model"))
            connection.finish()
            return
        request_id = headers.get("x-request-id") or os.urandom(8).hex()
        now = self._clock.now
        entry = self.record.begin(request.name, request_id, request.kind.name, request.first, now)
        key = str(entry.number)
        # An answer with nothing left still takes a step: the engine has to find its end.
        tokens = max(1, request.until - request.first)
        work = EngineWork(key, request.kind, request.input_tokens, tokens, request.prefix_blocks)
        cached = request.input_tokens - self._clock.model.uncached_tokens(work)
        prompt_ids = self._prompt_ids(request) if request.return_token_ids else None
        answer = AnswerStream(request, request_id, int(time.time()), cached, prompt_ids)
        self._requests[key] = ServedRequest(request, connection, answer, entry)
        connection.on_disconnect = lambda: self._on_disconnect(key)
        try:
            self._clock.submit(work)
        except ValueError as error:
            self._end(key, CUT_OFF)
            raise InvalidRequestError(str(error), code="context_length_exceeded") from None
        if self._dice.cut_at(0, finished=False) is not None:
            self._cut_off(key)

    def _prompt_ids(self, request: SimulatedRequest) -> list[int]:
        return prompt_token_ids(request.prefix_blocks, request.input_tokens, self._clock.model.config.block_tokens)

    def _on_disconnect(self, key: str) -> None:
        generated = self._clock.cancel(key)
        if generated:
            request = self._requests[key].request
            self._clock.model.keep(self._reader.blocks(request, request.first + generated))
        self._metrics.counts.aborted += 1
        self._end(key, CANCELLED)

    def _end(self, key: str, state: str) -> ServedRequest:
        served = self._requests.pop(key)
        self.record.end(served.entry, state, self._clock.now)
        return served

    def _cut_off(self, key: str) -> None:
        self._clock.cancel(key)
        served = self._end(key, CUT_OFF)
        if self._dice.faults.die_how == EXIT:
            os._exit(EXIT_STATUS)
        served.connection.drop()

    def _deliver(self, emissions: list[Emission]) -> None:
        cut_off: set[str] = set()
        plan: list[tuple[ServedRequest, Emission, int | None]] = []
        progress = []
        for emission in emissions:
            served = self._requests.get(emission.key)
            if served is None or emission.key in cut_off:
                continue  # its client went away, or a fault cuts it off before these tokens
            cut = self._dice.cut_at(emission.until, finished=emission.finished)
            if cut is not None:
                cut_off.add(emission.key)
            plan.append((served, emission, cut))
            if served.request.streaming:
                until = served.request.first + (emission.until if cut is None else cut)
                progress.append((served.entry, min(until, served.request.until)))
        if progress:
            self.record.sending(progress)
        for served, emission, cut in plan:
            if emission.key in self._requests:  # otherwise its client went away
                self._send(served, emission, cut)

    def _send(self, served: ServedRequest, emission: Emission, cut: int | None) -> None:
        self._measure(served, emission)
        request = served.request
        until = emission.until if cut is None else cut
        if request.streaming:
            for index in range(request.first + emission.first, min(request.first + until, request.until)):
                served.connection.write(served.answer.token(index))
        if cut is not None:
            self._cut_off(emission.key)
            return
        if not emission.finished:
            return
        if not request.streaming:
            whole = embedding_response(request) if request.endpoint is Endpoint.EMBEDDINGS else served.answer.whole()
            self.record.sending([(served.entry, request.until)])
            served.connection.write(whole)
        elif request.first == request.until:
            served.connection.write(served.answer.nothing())
        if request.endpoint is not Endpoint.EMBEDDINGS:
            # As vLLM does: what was answered is there for the question that follows it.
            self._clock.model.keep(self._reader.blocks(request, request.until))
        self._end(emission.key, COMPLETE)
        served.connection.finish()

    def _measure(self, served: ServedRequest, emission: Emission) -> None:
        metrics = self._metrics
        since = emission.at - served.entry.received_at
        metrics.counts.generated += emission.until - emission.first
        if emission.first:
            metrics.inter_token_latency.observe(emission.at - served.last_token_at)
        elif emission.until:
            metrics.time_to_first_token.observe(since)
            served.first_token_at = emission.at
        served.last_token_at = emission.at
        if not emission.finished:
            return
        metrics.request_latency.observe(since)
        if emission.until > 1:
            metrics.time_per_output_token.observe((emission.at - served.first_token_at) / (emission.until - 1))
        if served.request.finish_reason == "length":
            metrics.counts.at_length += 1
        else:
            metrics.counts.stopped += 1
