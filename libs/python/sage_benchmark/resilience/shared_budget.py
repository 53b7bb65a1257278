"""``sage bench limits``: eight clients spend one budget at two gateways, and one of these is killed on the way."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
import uvloop

from sage_benchmark.gateway_benchmark import static_engine
from sage_benchmark.http_client import OK, ConnectionPool, HttpResponse, render_post
from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh
from sage_benchmark.report.bars import Bar
from sage_benchmark.report.report_table import ReportTable
from sage_benchmark.resilience.resilience_result import ResilienceResult

CHAT = "/v1/chat/completions"
TENANT = "measured"
TOKENS = 16
# What the engine says of every prompt, and what an answer comes to.
SPENT = TOKENS + 1
BODY = b'{"model":"static","max_tokens":16,"messages":[{"role":"user","content":"Say something."}]}'
# What the gateway reserves for it: the estimate of its prompt, and the longest answer.
ESTIMATE = 21
KILLED = "gateway-2"
# A gateway counts as dead after eight seconds, and another looks every second.
SETTLING_SECONDS = 20.0
CALL_SECONDS = 30.0
AGAIN_SECONDS = 0.05
COMMAND_SECONDS = 60


@dataclass(frozen=True)
class SharedBudgetPlan:
    """How much is spent.

    Attributes:
        requests: that fit into the budget.
        kill_share: of them, after which a gateway is killed.
        spend_share: of them, after which the clients rest until everything has settled.
    """

    requests: int = 2_000
    clients: int = 8
    kill_share: float = 0.4
    spend_share: float = 0.8

    @property
    def budget(self) -> int:
        return self.requests * SPENT


@dataclass
class Spending:
    """What came of the requests so far.

    Attributes:
        broken: whose gateway died before the end of their answers: they may have been counted or not.
        refused: by the message's code.
    """

    answered: int = 0
    broken: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def received(self) -> int:
        """Tokens of whole answers."""
        return self.answered * SPENT

    def note(self, response: HttpResponse) -> bool:
        """Count an answer; return whether it was one.

        Raises:
            RuntimeError: it was neither an answer nor a refusal by a limit.
        """
        if response.error:
            self.broken += 1
            return False
        answer = orjson.loads(response.body)
        if response.status == OK:
            self.answered += 1
            return True
        code = answer.get("error", {}).get("code", "")
        if response.status != 429:
            raise RuntimeError(f"the gateway answered {response.status}: {response.body[:300]!r}")
        self.refused[code] = self.refused.get(code, 0) + 1
        return False


def run(plan: SharedBudgetPlan) -> ResilienceResult:
    """Start an engine and a mesh of two gateways, measure, and take both down."""
    with tempfile.TemporaryDirectory(prefix="sage-bench-") as scratch, static_engine("--delay-ms", "10") as engine:
        replicas = {"embed-executor": 0, "dataflow-worker": 0, "gateway": 2}
        with isolated_mesh(Path(scratch), llm=engine, replicas=replicas) as mesh:
            command = [sys.executable, "-m", "sage_cli", "tenant", "set", TENANT, "--daily-tokens", str(plan.budget)]
            subprocess.run(command, env=mesh.environment, check=True, capture_output=True, timeout=COMMAND_SECONDS)
            return uvloop.run(_measured(plan, mesh))


async def _measured(plan: SharedBudgetPlan, mesh: IsolatedMesh) -> ResilienceResult:
    ports = {status.name: status.ports["http"] for status in mesh.processes("gateway")}
    urls = [f"http://127.0.0.1:{port}" for port in ports.values()]
    pools = [ConnectionPool(url, time.perf_counter) for url in urls]
    spending = Spending()
    killed_at: list[float] = []

    def kill_when_due() -> None:
        if not killed_at and spending.answered >= plan.kill_share * plan.requests:
            killed_at.append(time.perf_counter())
            mesh.process(KILLED).kill()

    began = time.perf_counter()
    clients = [_spend(plan, spending, pools, number, kill_when_due) for number in range(plan.clients)]
    await asyncio.gather(*clients)
    seconds = time.perf_counter() - began
    # What the dead gateway held comes back, and the supervisor has started another in its place.
    await asyncio.sleep(max(0.0, killed_at[0] + SETTLING_SECONDS - time.perf_counter()))
    await asyncio.to_thread(mesh.wait_ready, KILLED, not_pid=0)
    settled = Spending(spending.answered, spending.broken)
    phantom = await _spend_the_rest(plan, settled, pools)
    for pool in pools:
        pool.close()
    return _result(plan, spending, settled, phantom, seconds)


async def _spend(
    plan: SharedBudgetPlan, spending: Spending, pools: list[ConnectionPool], number: int, noticed: Callable[[], None]
) -> None:
    """Ask until enough is spent; where its gateway is gone, at the other."""
    place = number % len(pools)
    request = _request(pools[place])
    while spending.answered < plan.spend_share * plan.requests:
        try:
            response = await pools[place].request(request, CALL_SECONDS)
        except OSError:
            place = 0
            request = _request(pools[place])
            continue
        if response.error:
            place = 0
            request = _request(pools[place])
        if not spending.note(response):
            # What is left is reserved by requests that run, or held by the gateway that died.
            await asyncio.sleep(AGAIN_SECONDS)
        noticed()


async def _spend_the_rest(plan: SharedBudgetPlan, spending: Spending, pools: list[ConnectionPool]) -> int:
    """Ask one by one, at both gateways, until nothing is left; return how often it was refused while there was."""
    phantom = 0
    for number in range(2 * plan.requests):
        pool = pools[number % len(pools)]
        spent_at_most = spending.received + spending.broken * SPENT
        answered = spending.note(await pool.request(_request(pool), CALL_SECONDS))
        if answered:
            continue
        if plan.budget - spent_at_most < ESTIMATE:
            break
        phantom += 1
    return phantom


def _request(pool: ConnectionPool) -> bytes:
    return render_post(pool.url + CHAT, BODY, [("x-sage-tenant", TENANT)])


def _result(
    plan: SharedBudgetPlan, before: Spending, after: Spending, phantom: int, seconds: float
) -> ResilienceResult:
    overspent = max(0, after.received - plan.budget)
    unspent = plan.budget - after.received
    bars = [
        Bar("tokens beyond the budget", overspent, ESTIMATE, "tokens"),
        Bar("refused after settling though there was enough left", phantom, 0),
        Bar(
            "left at the end, less what broken answers may have cost",
            unspent - after.broken * SPENT,
            ESTIMATE,
            "tokens",
        ),
    ]
    figures: dict[str, Any] = {
        "budget": plan.budget,
        "received": after.received,
        "requests_per_second": before.answered / seconds,
        "broken": after.broken,
        "refused_while_spending": before.refused,
        "refused_after_settling": after.refused,
        "phantom_refusals": phantom,
    }
    table = ReportTable(
        "One budget, two gateways, one of them killed",
        "broken: answers whose gateway died under them",
        ("budget", "received", "left", "broken", "refused at first", "after settling, with enough left", "requests/s"),
        [
            (
                f"{plan.budget:,}",
                f"{after.received:,}",
                f"{unspent:,}",
                str(after.broken),
                str(sum(before.refused.values())),
                str(phantom),
                f"{figures['requests_per_second']:,.0f}",
            )
        ],
    )
    return ResilienceResult("One budget at two gateways", asdict(plan), figures, [table], bars)
