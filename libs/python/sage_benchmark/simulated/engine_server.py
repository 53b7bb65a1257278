"""The simulated engine behind its HTTP API."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from sage_benchmark.simulated.answer_stream import AnswerStream
from sage_benchmark.simulated.embedding_vectors import embedding_response
from sage_benchmark.simulated.engine_clock import EngineClock
from sage_benchmark.simulated.engine_config import EngineModelConfig
from sage_benchmark.simulated.engine_metrics import EngineMetrics
from sage_benchmark.simulated.engine_model import EngineModel
from sage_benchmark.simulated.engine_record import CANCELLED, COMPLETE, CUT_OFF, EngineRecord, RecordEntry
from sage_benchmark.simulated.engine_work import Emission, EngineWork
from sage_benchmark.simulated.faults import EXIT, FaultDice, Faults, read_faults
from sage_benchmark.simulated.http_connection import HttpConnection, HttpRequest
from sage_benchmark.simulated.http_responses import respond, respond_error, respond_json, respond_refusal
from sage_benchmark.simulated.simulated_request import RequestReader, SimulatedRequest
from sage_common.errors import InvalidRequestError
from sage_control_plane.request.features import FeatureExtractor
from sage_control_plane.request.request import Endpoint

POSTS = {endpoint.path: endpoint for endpoint in (Endpoint.CHAT_COMPLETIONS, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS)}
EXIT_STATUS = 70


@dataclass(frozen=True, slots=True)
class SimulatedModels:
    """Names of what the engine serves; an empty one is not served."""

    llm: str = "simulated"
    embedding: str = ""


@dataclass(slots=True)
class Exchange:
    """A request that the engine holds."""

    request: SimulatedRequest
    connection: HttpConnection
    answer: AnswerStream
    entry: RecordEntry
    first_token_at: float = 0.0
    last_token_at: float = 0.0


class EngineServer:
    """Serves the requests of all connections. ``refuse`` is called to refuse connections for so many seconds.

    Args:
        models: what is served.
        config: the model's figures.
        extract: token estimates and prefix blocks.
        journal: file that the record is written to as well.
    """

    def __init__(
        self,
        models: SimulatedModels,
        config: EngineModelConfig,
        extract: FeatureExtractor,
        refuse: Callable[[float], None],
        journal: Path | None = None,
    ) -> None:
        self._models = models
        self._refuse = refuse
        self._reader = RequestReader(extract, config.max_context_tokens)
        self._clock = EngineClock(EngineModel(config, every_token=True), self._deliver)
        self._metrics = EngineMetrics(self._clock.model, models.llm or models.embedding, lambda: self._clock.now)
        self._dice = FaultDice(Faults())
        self._stalled_until = 0.0
        self._exchanges: dict[str, Exchange] = {}
        self._started = int(time.time())
        self.record = EngineRecord(journal)

    def close(self) -> None:
        """Stop the clock and close the journal."""
        self._clock.stop()
        self.record.close()

    def serve(self, request: HttpRequest, connection: HttpConnection) -> None:
        """Answer a request, now or when the model says so."""
        path = request.path.split("?", 1)[0]
        endpoint = POSTS.get(path)
        try:
            if endpoint is not None and request.method == "POST":
                self._take(endpoint, request, connection)
                return
            if path == "/health" and self._dice.faults.stall_health and self._clock.now < self._stalled_until:
                return  # no answer: the client's own time-out ends it
            response = self._state(path, request)
        except InvalidRequestError as error:
            response = respond_refusal(error)
        connection.write(response)
        connection.finish()

    def _state(self, path: str, request: HttpRequest) -> bytes:
        if path == "/health":
            return respond(200, b"text/plain", b"")
        if path == "/v1/models":
            return respond_json({"object": "list", "data": self._model_list()})
        if path == "/metrics":
            return respond(200, b"text/plain; version=0.0.4; charset=utf-8", self._metrics.render())
        if path == "/sim/record":
            return respond_json({"requests": [entry.to_json() for entry in self.record.entries]})
        if path == "/sim/faults":
            if request.method == "POST":
                self._set_faults(request.body)
            return respond_json(asdict(self._dice.faults))
        return respond_error(404, f"no path {path}", "NotFoundError", "not_found")

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
                "kinds": served,
            }
            for name, served in kinds
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
            self._refuse(faults.refuse_seconds)

    # Generation and embedding

    def _take(self, endpoint: Endpoint, http: HttpRequest, connection: HttpConnection) -> None:
        if self._dice.errs():
            status = self._dice.faults.error_status
            connection.write(respond_error(status, "injected fault", "InternalServerError", "injected_fault"))
            connection.finish()
            return
        request = self._reader.read(endpoint, http.headers, http.body)
        served = self._models.embedding if endpoint is Endpoint.EMBEDDINGS else self._models.llm
        if not served or request.model not in ("", served):
            known = [name for name in (self._models.llm, self._models.embedding) if name]
            message = f"{endpoint.path} does not serve the model {request.model!r}; there are {', '.join(known)}"
            connection.write(respond_error(404, message, "NotFoundError", "model_not_found", "model"))
            connection.finish()
            return
        request_id = http.headers.get("x-request-id") or os.urandom(8).hex()
        now = self._clock.now
        entry = self.record.begin(request.name, request_id, request.kind.name, request.first, now)
        key = str(entry.number)
        answer = AnswerStream(request, request_id, int(time.time()))
        self._exchanges[key] = Exchange(request, connection, answer, entry)
        connection.on_gone = lambda: self._gone(key)
        # An answer with nothing left still takes a step: the engine has to find its end.
        tokens = max(1, request.until - request.first)
        work = EngineWork(key, request.kind, request.input_tokens, tokens, request.prefix_blocks)
        try:
            self._clock.submit(work)
        except ValueError as error:
            self._end(key, CUT_OFF)
            raise InvalidRequestError(str(error), code="context_length_exceeded") from None
        if self._dice.cut_at(0, finished=False) is not None:
            self._cut_off(key)

    def _gone(self, key: str) -> None:
        self._clock.cancel(key)
        self._metrics.counts.aborted += 1
        self._end(key, CANCELLED)

    def _end(self, key: str, state: str) -> Exchange:
        exchange = self._exchanges.pop(key)
        self.record.end(exchange.entry, state, self._clock.now)
        return exchange

    def _cut_off(self, key: str) -> None:
        self._clock.cancel(key)
        exchange = self._end(key, CUT_OFF)
        if self._dice.faults.die_how == EXIT:
            os._exit(EXIT_STATUS)
        exchange.connection.drop()

    def _deliver(self, emissions: list[Emission]) -> None:
        cut_off: set[str] = set()
        plan: list[tuple[Exchange, Emission, int | None]] = []
        progress = []
        for emission in emissions:
            exchange = self._exchanges.get(emission.key)
            if exchange is None or emission.key in cut_off:
                continue  # its client went away, or a fault cuts it off before these tokens
            cut = self._dice.cut_at(emission.until, finished=emission.finished)
            if cut is not None:
                cut_off.add(emission.key)
            plan.append((exchange, emission, cut))
            if exchange.request.streaming:
                until = exchange.request.first + (emission.until if cut is None else cut)
                progress.append((exchange.entry, min(until, exchange.request.until)))
        if progress:
            self.record.sending(progress)
        for exchange, emission, cut in plan:
            if emission.key in self._exchanges:  # else its client went away
                self._send(exchange, emission, cut)

    def _send(self, exchange: Exchange, emission: Emission, cut: int | None) -> None:
        self._measure(exchange, emission)
        request = exchange.request
        until = emission.until if cut is None else cut
        if request.streaming:
            for index in range(request.first + emission.first, min(request.first + until, request.until)):
                exchange.connection.write(exchange.answer.token(index))
        if cut is not None:
            self._cut_off(emission.key)
            return
        if not emission.finished:
            return
        if not request.streaming:
            whole = embedding_response(request) if request.endpoint is Endpoint.EMBEDDINGS else exchange.answer.whole()
            self.record.sending([(exchange.entry, request.until)])
            exchange.connection.write(whole)
        elif request.first == request.until:
            exchange.connection.write(exchange.answer.nothing())
        self._end(emission.key, COMPLETE)
        exchange.connection.finish()

    def _measure(self, exchange: Exchange, emission: Emission) -> None:
        metrics = self._metrics
        since = emission.at - exchange.entry.received_at
        metrics.counts.generated += emission.until - emission.first
        if emission.first:
            metrics.inter_token_latency.observe(emission.at - exchange.last_token_at)
        elif emission.until:
            metrics.time_to_first_token.observe(since)
            exchange.first_token_at = emission.at
        exchange.last_token_at = emission.at
        if not emission.finished:
            return
        metrics.request_latency.observe(since)
        if emission.until > 1:
            metrics.time_per_output_token.observe((emission.at - exchange.first_token_at) / (emission.until - 1))
        if exchange.request.finish_reason == "length":
            metrics.counts.at_length += 1
        else:
            metrics.counts.stopped += 1
