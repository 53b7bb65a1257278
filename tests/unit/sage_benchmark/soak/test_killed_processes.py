"""Who is killed when: drawn from a seed, never one that is spared, never one that does not run."""

from __future__ import annotations

import random
from functools import partial

from sage_benchmark.soak.killed_processes import Killer, Victim, counted, spared
from sage_benchmark.soak.soak_plan import SoakPlan, Work, orders

SERVICES = ("gateway", "nats", "scheduler")


class Hosts:
    """Three hosts with the same services, of which some are away."""

    def __init__(self, *away: tuple[int, str]) -> None:
        self.away = away
        self.killed: list[tuple[int, str]] = []

    def victims(self) -> list[Victim]:
        return [
            Victim(host, service, service, partial(self._kill, host, service))
            for host in (1, 2, 3)
            for service in SERVICES
        ]

    def _kill(self, host: int, service: str) -> bool:
        if (host, service) in self.away:
            return False
        self.killed.append((host, service))
        return True


async def test_the_same_seed_kills_the_same() -> None:
    first, second, other = Hosts(), Hosts(), Hosts()
    for hosts, seed in ((first, 1), (second, 1), (other, 2)):
        await Killer(hosts.victims, 400.0, 4.0, seed, lambda: 400.0).run()
    assert first.killed == second.killed != other.killed
    assert len(first.killed) == 99


async def test_one_process_of_each_service_is_spared_in_the_second_half() -> None:
    hosts = Hosts()
    killer = Killer(hosts.victims, 1000.0, 4.0, 1, lambda: 1000.0)
    await killer.run()
    assert {process for _, process in killer.spares} == set(SERVICES)
    assert not killer.spares & set(hosts.killed)
    assert len(set(hosts.killed)) == 6, "all others are killed"


async def test_what_does_not_run_is_passed_over() -> None:
    hosts = Hosts((1, "gateway"), (1, "nats"), (1, "scheduler"), (2, "gateway"))
    killer = Killer(hosts.victims, 400.0, 4.0, 1, lambda: 400.0)
    await killer.run()
    assert set(hosts.killed) <= {(2, "nats"), (2, "scheduler"), (3, "gateway"), (3, "nats"), (3, "scheduler")}
    assert [(kill.host, kill.process) for kill in killer.kills] == hosts.killed
    counts = counted(killer.kills)
    assert sum(sum(of_service.values()) for of_service in counts.values()) == len(hosts.killed)


def test_one_of_each_service_is_drawn() -> None:
    drawn = [spared(Hosts().victims(), random.Random(seed)) for seed in range(20)]
    assert all(sorted(name for _, name in one) == sorted(SERVICES) for one in drawn)
    assert len(set(drawn)) > 5


def test_orders_are_drawn_from_the_seed_at_the_rates_of_the_plan() -> None:
    plan = SoakPlan(seconds=2000.0)
    asked = list(orders(plan))
    assert asked == list(orders(plan))
    assert [order.at for order in asked] == sorted(order.at for order in asked)
    assert len({order.name for order in asked}) == len(asked)
    for work, rate in ((Work.CHAT, plan.chats), (Work.GUIDED, plan.guided), (Work.EMBEDDING, plan.embeddings)):
        assert abs(sum(order.work is work for order in asked) / plan.seconds - rate) < 0.1 * rate + 0.03
