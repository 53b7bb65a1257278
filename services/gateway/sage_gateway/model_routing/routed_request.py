"""A request for a model route: it goes on with the next model until one has begun to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Protocol

from sage_common.clock import Clock
from sage_common.errors import InternalError, SageError, UnavailableError
from sage_common.logging import get_logger
from sage_common.model_routes import FallbackReason
from sage_control_plane.request.catalog import KIND_OF_ENDPOINT, ModelCatalog
from sage_control_plane.request.request import FailedModel, RoutedModel
from sage_gateway.model_routing.fallback_reason import reason_of
from sage_gateway.model_routing.first_content import FirstContent
from sage_gateway.model_routing.route_plan import RoutePlan
from sage_gateway.model_routing.routed_body import body_for, hints_for
from sage_mesh.inference_request import InferenceRequest
from sage_mesh.reply import HIGH_WATER_BYTES, NO_USAGE, Media, Reply, ReplyHead

log = get_logger(__name__)

# An error's message travels with every later attempt.
MOST_MESSAGE_CHARACTERS = 300

OnFallback = Callable[[str, FallbackReason], None]


class Submitter(Protocol):
    """What takes requests into the mesh."""

    def submit(self, request: InferenceRequest) -> Reply:
        """Submit a request. Raises SageError where it is refused at once."""
        ...


class RoutedRequest:
    """One request, and the models behind the name that it uses.

    Args:
        body: the request's, parsed.
        catalog: the models that are served now.
        spawn: runs what passes an answer on, and holds it until it has ended.
        on_fallback: told of the route and the reason where the request goes on with another model.
    """

    def __init__(
        self,
        request: InferenceRequest,
        body: Mapping[str, Any],
        plan: RoutePlan,
        edge: Submitter,
        catalog: Callable[[], ModelCatalog],
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        on_fallback: OnFallback,
    ) -> None:
        self._request = request
        self._body = body
        self.plan = plan
        self._edge = edge
        self._catalog = catalog
        self._clock = clock
        self._spawn = spawn
        self._on_fallback = on_fallback
        self._began = clock.now()
        self._at = 0
        self._failed: list[FailedModel] = []
        self._inner: Reply | None = None
        self._reply: Reply | None = None
        self._begun = False
        self._stopped = False
        self._room = asyncio.Event()

    @property
    def model(self) -> str:
        """The model that was tried last."""
        return self.plan.steps[self._at].model

    def most_tokens_by_model(self) -> list[tuple[str, int | None]]:
        """Return the models that may answer, by the names of prices, and what limits their output by default."""
        return [(self._own_name(step.model), step.defaults.get("max_tokens")) for step in self.plan.steps]

    def _own_name(self, model: str) -> str:
        try:
            return self._catalog().resolve(model, self._request.endpoint).card.name
        except SageError:
            return model

    def submit(self) -> Reply:
        """Submit the request. Raises SageError where no model can be asked."""
        inner = self._submit_or_next()
        if len(self.plan.steps) == 1:
            return inner
        self._inner = inner
        self._reply = Reply(inner.request_id, self._stop, self._request.correlation_id)
        self._spawn(self._pass_on_safely(self._reply))
        return self._reply

    def _submit_or_next(self) -> Reply:
        """Submit to the present step, or to the first behind it that may stand in and has an engine."""
        absent = self._absent()
        following = None if absent is None else self.plan.next_step(self._at, "failure")
        while absent is not None and following is not None:
            if self._absent(following) is None:
                self._move_on(following, "failure", absent)
                break
            following = self.plan.next_step(following, "failure")
        step = self.plan.steps[self._at]
        request = self._request
        reply = self._reply
        return self._edge.submit(
            replace(
                request,
                body=body_for(self._body, request.endpoint, step.model, step.defaults),
                hints=hints_for(request.hints, step.defaults),
                timeout_seconds=self._seconds_left(),
                # By the first attempt's id, which the caller has, all of them are found.
                correlation_id=request.correlation_id or (None if reply is None else reply.request_id),
                routed=RoutedModel(self.plan.name, step.path, tuple(self._failed)),
            )
        )

    def _absent(self, number: int | None = None) -> SageError | None:
        """Return why nobody serves a step's model now; None where somebody does, or only the edge can say."""
        step = self.plan.steps[self._at if number is None else number]
        try:
            entry = self._catalog().resolve(step.model, self._request.endpoint)
        except SageError as error:
            return error if reason_of(error) == "failure" else None
        if KIND_OF_ENDPOINT[self._request.endpoint] in entry.ready_kinds:
            return None
        return UnavailableError(f"no engine of the model {step.model!r} is ready", code="engine_not_ready")

    def _move_on(self, number: int, reason: FallbackReason, error: SageError) -> None:
        self._failed.append(FailedModel(self.model, reason, error.code, error.message[:MOST_MESSAGE_CHARACTERS]))
        log.info(
            "request goes on with another model",
            request_id=None if self._reply is None else self._reply.request_id,
            correlation_id=self._request.correlation_id,
            route=self.plan.name,
            model=self.model,
            following=self.plan.steps[number].model,
            reason=reason,
            error=error.message,
        )
        self._on_fallback(self.plan.name, reason)
        self._at = number

    def _seconds_left(self) -> float:
        return self._request.timeout_seconds - (self._clock.now() - self._began)

    async def _pass_on_safely(self, reply: Reply) -> None:
        try:
            await self._pass_on(reply)
        except asyncio.CancelledError:
            self._stop(UnavailableError("this gateway is stopping; send the request again", retryable=True))
            raise
        except Exception:
            log.exception("answer not passed on", request_id=reply.request_id, correlation_id=reply.correlation_id)
            self._stop(InternalError("the gateway failed to answer; its log says why"))

    async def _pass_on(self, reply: Reply) -> None:
        """Pass the answer of the first model on that begins one, and what it comes to."""
        while self._inner is not None:
            inner = self._inner
            try:
                await self._pass_one(reply, inner)
            except SageError as error:
                if self._stopped:
                    return
                try:
                    self._inner = self._after(error)
                except SageError as final:
                    reply.fail(self._told(final), inner.usage)
                    return
            else:
                if not self._stopped:
                    reply.end(inner.usage)
                return

    def _after(self, error: SageError) -> Reply:
        """Return the reply of the model that stands in. Raises ``error`` where there is none."""
        reason = reason_of(error)
        if self._begun or reason is None or self._seconds_left() <= 0:
            raise error
        following = self.plan.next_step(self._at, reason)
        if following is None:
            raise error
        self._move_on(following, reason, error)
        return self._submit_or_next()

    async def _pass_one(self, reply: Reply, inner: Reply) -> None:
        head = await inner.head()
        if head.media is not Media.EVENT_STREAM:
            # Nothing of a document is delivered before all of it is there.
            document = await inner.read()
            self._begin(reply, head, document)
            return
        said, held = FirstContent(), []
        async for piece in inner:
            if self._begun:
                reply.feed(piece)
                await self._until_taken(reply)
                continue
            held.append(piece)
            if said.is_in(piece):
                self._begin(reply, await inner.head(), b"".join(held))
        if not self._begun:
            self._begin(reply, await inner.head(), b"".join(held))

    def _begin(self, reply: Reply, head: ReplyHead, data: bytes) -> None:
        self._begun = True
        if self._stopped:
            return
        reply.feed(data)
        reply.begin(head)

    async def _until_taken(self, reply: Reply) -> None:
        """Wait while too much waits for the consumer, so that the edge sees that it does not read."""
        while reply.unread_bytes > HIGH_WATER_BYTES and not self._stopped:
            self._room.clear()
            reply.on_low = self._room.set
            await self._room.wait()

    def _told(self, error: SageError) -> SageError:
        """Return the error of the last model, which names those before it."""
        if self._failed:
            before = ", ".join(f"{each.model!r} ({each.code})" for each in self._failed)
            return type(error)(
                f"{error.message}; before it, model route {self.plan.name!r} had tried {before}",
                code=error.code,
                param=error.param,
                retry_after_seconds=error.retry_after_seconds,
                retryable=error.retryable,
                upstream_status=error.upstream_status,
                upstream_body=error.upstream_body,
            )
        return error

    def _stop(self, error: SageError) -> None:
        """End the request: its consumer does not wait any more."""
        reply = self._reply
        if self._stopped or reply is None:
            return
        self._stopped = True
        self._room.set()
        if self._inner is not None:
            self._inner.stop(error)
        reply.fail(error, NO_USAGE if self._inner is None else self._inner.usage)
