"""A switch counts only when the scheduler says the policy and its pools go by it; over real gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from sage.scheduler.v1 import scheduler_pb2 as messages
from sage.scheduler.v1 import scheduler_pb2_grpc
from sage_benchmark.live.mesh_system import PolicySwitchError, switch_policy


class Scheduler(scheduler_pb2_grpc.SchedulerServiceServicer):
    """Takes orders, and follows them as far as it is made to."""

    def __init__(self, *, writes: bool = True, follows_after: int = 0, leads: bool = True) -> None:
        self.ordered = self.in_force = "priority"
        self._writes, self._follows_after, self._leads = writes, follows_after, leads

    def SetPolicy(self, request: messages.SetPolicyRequest, context: object) -> messages.SetPolicyResponse:
        if request.policy == "refused":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such policy")  # type: ignore[attr-defined]
        if self._writes:
            self.ordered = request.policy
        return messages.SetPolicyResponse(policy=request.policy)

    def GetPolicy(self, request: messages.GetPolicyRequest, context: object) -> messages.GetPolicyResponse:
        return messages.GetPolicyResponse(policy=self.ordered)

    def GetStatus(self, request: messages.GetStatusRequest, context: object) -> messages.GetStatusResponse:
        if self._follows_after == 0:
            self.in_force = self.ordered
        self._follows_after -= 1
        pools = [
            messages.PoolStatus(pool="main", leading=self._leads, policy=self.in_force),
            messages.PoolStatus(pool="elsewhere", leading=False, policy="priority"),
        ]
        return messages.GetStatusResponse(pools=pools)


@contextmanager
def served(scheduler: Scheduler) -> Iterator[grpc.Channel]:
    server = grpc.server(ThreadPoolExecutor(2))
    scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server(scheduler, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        server.stop(None).wait()


def test_a_policy_that_the_leader_follows_later_is_waited_for() -> None:
    scheduler = Scheduler(follows_after=3)
    with served(scheduler) as channel:
        switch_policy(channel, "hybrid")
    assert scheduler.in_force == "hybrid"


@pytest.mark.parametrize(
    ("scheduler", "policy", "said"),
    [
        (Scheduler(writes=False), "hybrid", "GetPolicy says 'priority'"),
        (Scheduler(follows_after=-1), "hybrid", "pool 'main' goes by 'priority'"),
        (Scheduler(leads=False), "hybrid", "leads no pool"),
        (Scheduler(), "refused", "no such policy"),
    ],
)
def test_a_policy_that_is_not_in_force_fails_the_benchmark(scheduler: Scheduler, policy: str, said: str) -> None:
    with served(scheduler) as channel, pytest.raises(PolicySwitchError, match=said):
        switch_policy(channel, policy, timeout_seconds=0.2)
