"""A report says when the machine was too full for its figures to be the system's own."""

from __future__ import annotations

import os

from sage_benchmark.live.machine_use import MachineClock, MachineUse, describe_use

CORES = os.cpu_count() or 1


def test_use_is_cores_on_average_of_everybody_and_of_the_benchmark() -> None:
    use = MachineUse.between(MachineClock(10.0, 100.0), MachineClock(20.0, 115.0), {"gateway": 2.0, "nats": 3.0})
    assert use == MachineUse(1.5, 0.5)


def test_a_full_machine_is_named_and_an_idle_one_is_not() -> None:
    assert "machine was full" in describe_use([MachineUse(0.1, 0.1), MachineUse(0.95 * CORES, 0.1)])
    assert "machine was full" not in describe_use([MachineUse(0.5 * CORES, 0.4 * CORES)])


def test_the_clock_of_the_machine_runs() -> None:
    before = MachineClock.now()
    sum(range(2_000_000))
    after = MachineClock.now()
    assert after.wall > before.wall
    assert after.busy >= before.busy
