from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sage_kernel.placement.node_selection import STRATEGIES, WorkerNode, select_worker
from sage_kernel.placement.resources import Resources, TaskNeeds


def worker(name: str, *, tasks: int = 0, gpus: float = 0, load: float = 0.0, **labels: str) -> WorkerNode:
    return WorkerNode(name, Resources(4, gpus, 8000), 4, tasks=tasks, load=load, labels=labels)


def test_no_worker_is_said_with_the_remedy() -> None:
    assert select_worker(TaskNeeds(), []).reason == "no worker is registered; start one, as `sage up` does"


def test_a_label_that_no_worker_carries_is_named() -> None:
    placed = select_worker(TaskNeeds(labels={"zone": "a"}), [worker("w", zone="b"), worker("x")])
    assert placed.worker_id is None
    assert placed.reason == "no worker can take it: w: has zone=b, needed zone=a; x: has no label zone, needed zone=a"


def test_two_workers_with_one_gpu_each_are_no_worker_with_two() -> None:
    placed = select_worker(TaskNeeds(Resources(num_gpus=2)), [worker("a", gpus=1), worker("b", gpus=1)])
    assert placed.worker_id is None
    assert "a: has 1 of 1 GPUs free, needed 2" in placed.reason


def test_strategies_choose_differently() -> None:
    nodes = [worker("idle"), worker("half", tasks=2), worker("full", tasks=4)]
    chosen = {name: select_worker(TaskNeeds(), nodes, name).worker_id for name in STRATEGIES}
    assert chosen == {"balanced": "idle", "pack": "half", "spread": "idle"}


def test_an_excluded_worker_is_not_taken_and_says_why() -> None:
    placed = select_worker(TaskNeeds(), [worker("a")], excluded={"a": "its lease has lapsed"})
    assert placed.reason == "no worker can take it: a: its lease has lapsed"


def test_the_coordinators_own_worker_wins_among_equals() -> None:
    nodes = [worker("a", load=0.02), worker("b", load=0.05)]
    assert select_worker(TaskNeeds(), nodes, preferred="b").worker_id == "b"


nodes_of = st.lists(
    st.builds(
        lambda number, tasks, cpus, taken: WorkerNode(
            f"w{number}", Resources(cpus, 0, 1000), 4, Resources(min(taken, cpus), 0, 0), tasks
        ),
        st.integers(0, 30), st.integers(0, 5), st.integers(1, 8), st.integers(0, 8),
    ),
    max_size=8, unique_by=lambda node: node.worker_id,
)  # fmt: skip


@given(nodes_of, st.floats(0, 8), st.sampled_from(sorted(STRATEGIES)))
def test_a_task_is_placed_where_it_fits_and_only_then(nodes: list[WorkerNode], cpus: float, strategy: str) -> None:
    fits = {n.worker_id for n in nodes if n.tasks < n.slots and cpus <= n.capacity.num_cpus - n.reserved.num_cpus}
    placed = select_worker(TaskNeeds(Resources(cpus)), nodes, strategy)
    assert (placed.worker_id in fits) if fits else (placed.worker_id is None)
    assert select_worker(TaskNeeds(Resources(cpus)), reversed(nodes), strategy).worker_id == placed.worker_id
