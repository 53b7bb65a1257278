"""The cells of the grid: which engines, which load, and what the control plane is told of the engines' size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.simulator.simulation_plan import SimulationPlan
from sage_benchmark.workload.load_settings import LoadSettings
from sage_benchmark.workload.request_shapes import BULK, CHAT, RequestShape
from sage_common.errors import InvalidRequestError
from sage_control_plane.request.engine_state import CapacitySource

# The engine of the other benchmarks, and one like llama.cpp on two cores: 125 tokens/s in all at 4 slots.
SPEEDS = {
    "fast": EngineModelConfig(),
    "slow": EngineModelConfig(
        prefill_tokens_per_second=1_000.0, step_base_seconds=0.016, step_per_sequence_seconds=0.004
    ),
}
# What a server registers with that says nothing of its size and of which nobody has said anything.
CONCURRENCY_NOT_TOLD = 1024
# Engines of this many seats and more are two, smaller ones are three.
LARGE_SEATS = 256
LEAST_SECONDS = 120.0
LEAST_CHATS = 300


@dataclass(frozen=True, slots=True, order=True)
class GridWorkload:
    """Equal engines and a load of chats and bulk work.

    Attributes:
        speed: of the engines, a name in ``SPEEDS``.
        seats: requests that one engine works on at once.
        share: of the offered engine-seconds that are chats; the rest is bulk work.
        load: offered engine-seconds as a multiple of what the engines do with every seat taken.
        cv: coefficient of variation of the gaps between arrivals.
        least_seconds: in which requests arrive, at least.
        least_chats: chats that are expected, at least; the time is longer where it has to be.
    """

    speed: str
    seats: int
    share: float
    load: float
    cv: float
    seed: int = 1
    least_seconds: float = LEAST_SECONDS
    least_chats: int = LEAST_CHATS

    def __post_init__(self) -> None:
        """Raise InvalidRequestError for a cell that cannot be."""
        if self.speed not in SPEEDS:
            raise InvalidRequestError(f"no speed is called {self.speed!r}; known: {', '.join(SPEEDS)}", param="speeds")
        if not 0 < self.share < 1:
            raise InvalidRequestError(f"share {self.share:g}: it must be above 0 and below 1", param="shares")
        for name in ("seats", "load", "cv", "least_seconds"):
            if getattr(self, name) <= 0:
                raise InvalidRequestError(f"{name} {getattr(self, name):g}: it must be above 0", param=name)

    @property
    def engines(self) -> int:
        """How many engines there are."""
        return 2 if self.seats >= LARGE_SEATS else 3

    @property
    def engine(self) -> EngineModelConfig:
        """What each engine is."""
        return replace(SPEEDS[self.speed], max_num_seqs=self.seats)

    @property
    def shapes(self) -> tuple[RequestShape, ...]:
        """Kinds of requests."""
        return replace(CHAT, share=self.share), replace(BULK, share=1 - self.share)

    @property
    def seconds(self) -> float:
        """Time in which requests arrive."""
        chats_per_second = self.share * self.load * self.engines / CHAT.mean_engine_seconds(self.engine)
        return max(self.least_seconds, self.least_chats / chats_per_second)

    def settings(self) -> LoadSettings:
        """The workload, to be generated from its seed."""
        return LoadSettings(self.engines, self.seconds, self.load, self.cv, tenants=1, shapes=self.shapes)

    def simulation(self, policy: str, *, told: bool = True) -> SimulationPlan:
        """Return the pool under a policy; an engine that is not told of registers as an unknown server does."""
        plan = SimulationPlan(self.engines, policy, self.engine, seed=self.seed)
        if told:
            return plan
        source = CapacitySource.UNKNOWN
        return replace(plan, registered_concurrency=CONCURRENCY_NOT_TOLD, capacity_source=source)

    def name(self) -> str:
        """The cell for people."""
        return (
            f"{self.speed} {self.engines} x {self.seats} seats, chat share {self.share:g}, load {self.load:g}, "
            f"CV {self.cv:g}"
        )


@dataclass(frozen=True, slots=True)
class Grid:
    """Which part of the grid is played; every combination is."""

    seats: tuple[int, ...] = (2, 4, 16, 48, 256)
    shares: tuple[float, ...] = (0.1, 0.35, 0.7)
    loads: tuple[float, ...] = (0.7, 1.0, 1.3, 2.0)
    cvs: tuple[float, ...] = (1.0, 3.0)
    speeds: tuple[str, ...] = tuple(SPEEDS)
    told: tuple[bool, ...] = (True, False)
    policies: tuple[str, ...] = ("hybrid",)
    seeds: tuple[int, ...] = (1,)
    least_seconds: float = LEAST_SECONDS
    least_chats: int = LEAST_CHATS

    def workloads(self) -> list[GridWorkload]:
        """The workloads; each is played under every policy, and told and not told."""
        return [
            GridWorkload(speed, seats, share, load, cv, seed, self.least_seconds, self.least_chats)
            for speed, seats, share, load, cv, seed in product(
                self.speeds, self.seats, self.shares, self.loads, self.cvs, self.seeds
            )
        ]


# One cell of each kind, for a first look.
QUICK = Grid(seats=(4, 48, 256), shares=(0.35, 0.7), loads=(1.3,), cvs=(1.0,), least_seconds=60.0, least_chats=150)
