"""Model routes of a mesh: read and set, at any of its gateways."""

from __future__ import annotations

from typing import Any

from grpc.aio import Channel

from sage.gateway.v1 import models_pb2 as pb
from sage.gateway.v1 import models_pb2_grpc
from sage_client.management.operator_records import OperatorRecords
from sage_client.management.service_calls import ListInstances, ServiceCalls
from sage_client.wait_notice import OnWait
from sage_common.model_routes import ModelRoute


def model_routes(
    list_instances: ListInstances, token: str = "", on_wait: OnWait | None = None
) -> OperatorRecords[ModelRoute]:
    """Return the model routes; its methods raise as those of :class:`TenantManagement`.

    Args:
        token: API key or mesh token that the gateways are called with; empty for none.
        on_wait: called with which gateway a call waits for, when that takes longer than two seconds.
    """
    calls = ServiceCalls(list_instances, token, on_wait)
    return OperatorRecords(calls, ModelRoute, pb, _gateway, "ModelRoute", field="route")


def _gateway(channel: Channel) -> Any:
    return models_pb2_grpc.ModelServiceStub(channel)  # type: ignore[no-untyped-call]
