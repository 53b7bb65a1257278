"""Calls to the instances of a service, which the registry names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import TypeVar

from grpc.aio import AioRpcError, Channel
from nats.errors import Error as NatsError

from sage_client.wait_notice import OnWait, notice_of
from sage_common.errors import SageError, UnavailableError, describe
from sage_platform.grpc_server import channel_to
from sage_platform.grpc_status import error_from_status, is_unanswered
from sage_platform.registry import Instance

T = TypeVar("T")
ListInstances = Callable[[], Awaitable[list[Instance]]]
# What is done over an open channel.
Call = Callable[[Channel], Awaitable[T]]

REGISTRY_SECONDS = 2.0


class ServiceCalls:
    """Finds instances and calls them. One that was killed stays in the registry for some seconds: the next is tried.

    Args:
        token: what they are called with; empty for none.
        on_wait: called with which instance a call waits for, when that takes longer than two seconds.
        passed_over: codes of errors with which an instance says that another may have what is asked for.
        acting_for: tenant whose calls they count as; empty for the token's own.
    """

    def __init__(
        self,
        list_instances: ListInstances,
        token: str = "",
        on_wait: OnWait | None = None,
        *,
        passed_over: frozenset[str] = frozenset(),
        acting_for: str = "",
    ) -> None:
        self._list_instances = list_instances
        self._token = token
        self._on_wait = on_wait
        self._passed_over = passed_over
        self._acting_for = acting_for

    async def any(self, service: str, call: Call[T]) -> T:
        """Call one instance; those that do not answer are passed over.

        Raises:
            UnavailableError: none is registered, or none answers.
            SageError: what the instance raised.
        """
        failure: SageError | None = None
        for instance in await self.instances(service):
            try:
                return await self._call(instance, call)
            except AioRpcError as error:
                failure = error_from_status(error, service, instance.grpc_address)
                if not self._is_passed_over(error, failure):
                    raise failure from None
        raise failure or _none_registered(service)

    async def every(self, service: str, call: Call[T]) -> list[T]:
        """Call every instance at the same time; return the answers of those that answer.

        Raises:
            UnavailableError: none is registered, or none answers.
        """
        instances = await self.instances(service)
        outcomes = await asyncio.gather(*(self._call(i, call) for i in instances), return_exceptions=True)
        answers: list[T] = []
        failure: SageError | None = None
        for instance, outcome in zip(instances, outcomes, strict=True):
            if isinstance(outcome, AioRpcError):
                failure = error_from_status(outcome, service, instance.grpc_address)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                answers.append(outcome)
        if not answers:
            raise failure or _none_registered(service)
        return answers

    async def at(self, instance: Instance, call: Call[T]) -> T:
        """Call this instance. Raises SageError as ``any`` does."""
        try:
            return await self._call(instance, call)
        except AioRpcError as error:
            raise error_from_status(error, instance.service, instance.grpc_address) from None

    async def stream(self, instance: Instance, call: Callable[[Channel], AsyncIterable[T]]) -> AsyncIterator[T]:
        """Give what this instance streams. Raises SageError as ``any`` does."""
        try:
            async with self._channel(instance) as opened:
                async for message in call(opened):
                    yield message
        except AioRpcError as error:
            raise error_from_status(error, instance.service, instance.grpc_address) from None

    async def stream_any(self, service: str, call: Callable[[Channel], AsyncIterable[T]]) -> AsyncIterator[T]:
        """Give what one instance streams; those that do not answer at all are passed over. Raises as ``any`` does."""
        failure: SageError | None = None
        for instance in await self.instances(service):
            begun = False
            try:
                async with self._channel(instance) as opened:
                    async for message in call(opened):
                        begun = True
                        yield message
                return
            except AioRpcError as error:
                failure = error_from_status(error, service, instance.grpc_address)
                if begun or not self._is_passed_over(error, failure):
                    raise failure from None
        raise failure or _none_registered(service)

    async def instance(self, instance_id: str) -> Instance | None:
        """The instance with this id, if it is registered."""
        return next((i for i in await self.all_instances() if i.instance_id == instance_id), None)

    async def instances(self, service: str) -> list[Instance]:
        """The registered instances of a service, the one that started first coming first."""
        return [instance for instance in await self.all_instances() if instance.service == service]

    async def all_instances(self) -> list[Instance]:
        """All registered instances. Raises UnavailableError when the registry does not answer."""
        try:
            return await asyncio.wait_for(self._list_instances(), REGISTRY_SECONDS)
        except (NatsError, asyncio.TimeoutError) as error:
            raise UnavailableError(
                f"the registry does not answer ({describe(error)}); `sage status` shows if NATS runs",
                code="nats_unreachable",
            ) from None

    def _is_passed_over(self, error: AioRpcError, failure: SageError) -> bool:
        return is_unanswered(error) or failure.code in self._passed_over

    async def _call(self, instance: Instance, call: Call[T]) -> T:
        async def callee() -> str:
            return f"the {instance.service} at {instance.grpc_address}"

        async with (
            self._channel(instance) as opened,
            notice_of(callee, self._on_wait),
        ):
            return await call(opened)

    def _channel(self, instance: Instance) -> Channel:
        return channel_to(instance, [("grpc.enable_http_proxy", 0)], token=self._token, acting_for=self._acting_for)


def _none_registered(service: str) -> UnavailableError:
    return UnavailableError(f"no {service} is registered; `sage status` shows what runs, `sage up` starts one")
