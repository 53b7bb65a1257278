"""Changing the policy of a running scheduler, and making sure that it was changed."""

from __future__ import annotations

import time

import grpc

from sage.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from sage_common.errors import UnavailableError

CALL_SECONDS = 10.0
POLL_SECONDS = 0.05


class PolicySwitchError(UnavailableError):
    """The scheduler does not go by the policy that it was told to."""


def switch_policy(channel: grpc.Channel, policy: str, *, timeout_seconds: float = 5.0) -> None:
    """Set the policy of every pool and return when it is in force.

    What was ordered and what the pool's leader does are asked for separately: a benchmark of policies that all measured
    the same one is worse than none.

    Raises:
        PolicySwitchError: the order was refused, or not followed within the time.
    """
    stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)  # type: ignore[no-untyped-call]
    try:
        stub.SetPolicy(scheduler_pb2.SetPolicyRequest(policy=policy), timeout=CALL_SECONDS)
        deadline = time.monotonic() + timeout_seconds
        while (wrong := _not_followed(stub, policy)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    except grpc.RpcError as error:
        said = error.details() if isinstance(error, grpc.Call) else str(error)
        raise PolicySwitchError(f"the scheduler did not take the policy {policy!r}: {said}") from None
    if wrong:
        raise PolicySwitchError(f"the policy {policy!r} is not in force after {timeout_seconds:g} s: {wrong}")


def _not_followed(stub: scheduler_pb2_grpc.SchedulerServiceStub, policy: str) -> str:
    """Say what is not by the policy; empty where all is."""
    ordered = stub.GetPolicy(scheduler_pb2.GetPolicyRequest(), timeout=CALL_SECONDS).policy
    if ordered != policy:
        return f"GetPolicy says {ordered!r}"
    pools = [
        pool for pool in stub.GetStatus(scheduler_pb2.GetStatusRequest(), timeout=CALL_SECONDS).pools if pool.leading
    ]
    if not pools:
        return "this scheduler leads no pool"
    others = [f"pool {pool.pool!r} goes by {pool.policy!r}" for pool in pools if pool.policy != policy]
    return ", ".join(others)
