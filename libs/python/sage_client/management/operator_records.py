"""Records that operators keep at the gateways: set, listed and removed by calls that are named alike for every kind."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Generic, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from grpc.aio import Channel
from pydantic import BaseModel

from sage_client.management.service_calls import ServiceCalls
from sage_common.tenants import checked

GATEWAY = "gateway"
CALL_SECONDS = 10.0

R = TypeVar("R", bound=BaseModel)


class OperatorRecords(Generic[R]):
    """The records of one kind, at any gateway of the mesh.

    Args:
        kind: of the records.
        messages: the module of their messages.
        stub: makes the stub of their service.
        noun: of the kind in the contract: ``Tenant`` is set by ``SetTenant``, whose request has the field ``tenant``.
        key: the field by which ``RemoveTenant`` names one.
    """

    def __init__(
        self,
        calls: ServiceCalls,
        kind: type[R],
        messages: ModuleType,
        stub: Callable[[Channel], Any],
        noun: str,
        *,
        field: str,
        key: str = "name",
    ) -> None:
        self._calls = calls
        self._kind = kind
        self._messages = messages
        self._stub = stub
        self._noun = noun
        self._field = field
        self._key = key

    async def put(self, record: R) -> R:
        """Store a record in place of the one of its name. Raises InvalidRequestError where it is refused."""
        message = getattr(self._messages, self._noun)
        answer = await self._call(f"Set{self._noun}", {self._field: to_wire(record, message)})
        return from_wire(self._kind, getattr(answer, self._field))

    async def all(self) -> list[R]:
        """Return all records, by name."""
        answer = await self._call(f"List{self._noun}s", {})
        return [from_wire(self._kind, message) for message in getattr(answer, f"{self._field}s")]

    async def remove(self, name: str) -> R:
        """Remove a record. Raises NotFoundError."""
        answer = await self._call(f"Remove{self._noun}", {self._key: name})
        return from_wire(self._kind, getattr(answer, self._field))

    async def _call(self, verb: str, fields: dict[str, Any]) -> Any:
        request = getattr(self._messages, f"{verb}Request")(**fields)
        return await self._calls.any(
            GATEWAY, lambda channel: getattr(self._stub(channel), verb)(request, timeout=CALL_SECONDS)
        )


W = TypeVar("W", bound=Message)


def to_wire(record: BaseModel, message: type[W]) -> W:
    """Return a record as it travels: in the message that has its fields."""
    return message(**record.model_dump(mode="json", exclude_none=True))


def from_wire(kind: type[R], message: Message) -> R:
    """Return a record that has come. Raises InvalidRequestError, which names the field."""
    return checked(kind, MessageToDict(message, preserving_proto_field_name=True))
