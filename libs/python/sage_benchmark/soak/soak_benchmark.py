"""``sage bench soak``: mixed load on three hosts whose processes are killed all the time, and an account of it all."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from sage_benchmark.hosts.bed import GATEWAY_HOST
from sage_benchmark.resilience.resilience_result import ResilienceResult
from sage_benchmark.soak.accounts import Account, Verdict
from sage_benchmark.soak.checked_answers import Gateways, answer
from sage_benchmark.soak.killed_processes import Killer
from sage_benchmark.soak.long_work import LongWork
from sage_benchmark.soak.memory import MemoryWatch
from sage_benchmark.soak.soak_bed import HOSTS, SoakBed, soak_bed
from sage_benchmark.soak.soak_plan import AnswerOrder, SoakPlan, Work, orders
from sage_benchmark.soak.soak_report import SoakOutcome, result_of
from sage_common.errors import UnavailableError
from sage_common.tasks import end_tasks

SAMPLE_SECONDS = 5.0
READY_SECONDS = 60.0
# What was begun before the end may take that long beyond it.
EMPTY_SECONDS = 30.0
POLL_SECONDS = 0.2


def run(plan: SoakPlan, scratch: Path | None = None) -> ResilienceResult:
    """Bring the hosts up, soak them, and take all down. Raises UnavailableError where there can be none.

    Args:
        scratch: folder that keeps the hosts' files and logs; None for one that is removed.
    """
    with tempfile.TemporaryDirectory(prefix="sage-soak-") as temporary:
        with soak_bed(scratch or Path(temporary), plan.seed) as running, running.bed.network.inside(GATEWAY_HOST):
            outcome = asyncio.run(_soak(running, plan))
        return result_of(outcome)


async def _soak(running: SoakBed, plan: SoakPlan) -> SoakOutcome:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        gateways = Gateways(running.urls, session, plan)
        await _until_all_answer(gateways)
        gateways.began = time.monotonic()
        killer = Killer(running.victims, plan.seconds, plan.kill_seconds, plan.seed, gateways.now)
        memory, work = MemoryWatch(), LongWork(gateways)
        accounts: list[Account] = []
        watching: list[asyncio.Task[None]] = [
            asyncio.create_task(running.keep_engines(), name="engines"),
            asyncio.create_task(_watch(memory, running, gateways), name="memory"),
        ]
        doing: asyncio.Future[Any] = asyncio.gather(
            killer.run(), _ask(gateways, accounts), work.run_batches(), work.run_jobs()
        )
        try:
            await asyncio.wait([doing, *watching], return_when=asyncio.FIRST_COMPLETED)
            for watcher in watching:
                if watcher.done():
                    watcher.result()
            await doing
            left = await _left(gateways)
        finally:
            doing.cancel()
            await end_tasks(*watching)
        restarts = {host: sum(one.restarts for one in running.bed.hosts[host].state.processes) for host in HOSTS}
        growths = memory.growths(plan.seconds, plan.warm_up_seconds)
        every = [*accounts, *work.accounts]
        return SoakOutcome(plan, every, killer.kills, growths, memory, left, restarts, work, gateways.now())


async def _ask(gateways: Gateways, accounts: list[Account]) -> None:
    """Ask for every answer in its time, whatever became of those before."""
    asked: list[asyncio.Task[None]] = []
    for number, order in enumerate(orders(gateways.plan)):
        await asyncio.sleep(max(0.0, order.at - gateways.now()))
        accounts.append(Account(order.name, order.work))
        asked.append(asyncio.create_task(answer(gateways, order, accounts[-1], number), name=order.name))
    await asyncio.gather(*asked)


async def _watch(memory: MemoryWatch, running: SoakBed, gateways: Gateways) -> None:
    while True:
        memory.note(gateways.now(), running.processes())
        await asyncio.sleep(SAMPLE_SECONDS)


async def _until_all_answer(gateways: Gateways) -> None:
    """Wait until every gateway gives a whole answer to each kind of request. Raises UnavailableError."""
    deadline = time.monotonic() + READY_SECONDS
    for turn in range(len(gateways.urls)):
        for work in (Work.CHAT, Work.GUIDED, Work.COMPLETION, Work.EMBEDDING):
            account = Account("ready", work)
            while not account.attempts or account.verdict(()) is not Verdict.WHOLE:
                if time.monotonic() > deadline:
                    raise UnavailableError(f"no {work.value} is answered: {account.attempts[-1]}")
                account.attempts.clear()
                await answer(gateways, AnswerOrder(0.0, "ready", work, 3), account, turn)


async def _left(gateways: Gateways) -> int:
    """Return how many requests the gateways still hold when every client has its answer, once that is over."""
    deadline = time.monotonic() + EMPTY_SECONDS
    left = 0
    while time.monotonic() < deadline:
        left = 0
        for url in gateways.urls.values():
            async with gateways.session.get(f"{url}/v1/management/status") as response:
                left += int((await response.json())["in_flight"])
        if not left:
            break
        await asyncio.sleep(POLL_SECONDS)
    return left
