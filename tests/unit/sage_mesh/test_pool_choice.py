"""Requests for a model that two pools serve."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fixtures.manual_clock import ManualClock

from sage.inference.v1 import request_pb2
from sage_control_plane.request.catalog import ModelCatalog
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec, EngineState, ModelCard, RunningRequest
from sage_control_plane.request.request import Attempt, Endpoint, RequestKind
from sage_mesh.pool_choice import FRESH_SECONDS, SENT_SECONDS, PoolChoice

CARD = ModelCard("m", frozenset({RequestKind.LLM_CHAT}))


@dataclass
class Directory:
    """What a choice reads of a directory."""

    engines: dict[str, EngineState] = field(default_factory=dict)

    def put(self, pool: str, running: int = 0, phase: EnginePhase = EnginePhase.READY, seats: int = 10) -> None:
        requests = tuple(RunningRequest(f"r{n}", Attempt(1, n)) for n in range(running))
        self.engines[pool] = EngineState(EngineSpec(pool, "x", (CARD,), pool, seats), phase, running=requests)

    @property
    def catalog(self) -> ModelCatalog:
        return ModelCatalog(self.engines.values())


def assigned(choice: PoolChoice, model: str = "m") -> request_pb2.Classification:
    kind = request_pb2.REQUEST_KIND_LLM_CHAT
    classification = request_pb2.Classification(pool=choice.catalog.resolve(model, Endpoint.CHAT_COMPLETIONS).pool)
    classification.model, classification.kind = model, kind
    choice.assign(classification)
    return classification


def choice_of(directory: Directory, clock: ManualClock) -> PoolChoice:
    return PoolChoice(directory, clock)  # type: ignore[arg-type]


def test_a_model_of_one_pool_goes_there_without_more_words() -> None:
    directory = Directory()
    directory.put("a")
    found = assigned(choice_of(directory, ManualClock()))
    assert (found.pool, list(found.reasons)) == ("a", [])


def test_a_burst_between_two_heartbeats_is_shared_out() -> None:
    directory = Directory()
    directory.put("a")
    directory.put("b", seats=30)
    choice = choice_of(directory, ManualClock())
    assert Counter(assigned(choice).pool for _ in range(40)) == {"a": 10, "b": 30}


def test_what_was_sent_counts_until_heartbeats_show_it() -> None:
    directory, clock = Directory(), ManualClock()
    directory.put("a")
    directory.put("b")
    choice = choice_of(directory, clock)
    for _ in range(10):
        assigned(choice)
    clock.advance(SENT_SECONDS + 0.01)
    # Those on b have ended by now.
    directory.put("a", running=5)
    directory.put("b", running=0)
    assert [assigned(choice).pool for _ in range(5)] == ["b"] * 5


def test_a_pool_that_loses_its_engines_gets_nothing_more() -> None:
    directory, clock = Directory(), ManualClock()
    directory.put("a")
    directory.put("b", running=9)
    choice = choice_of(directory, clock)
    assert assigned(choice).pool == "a"
    directory.put("a", phase=EnginePhase.UNHEALTHY)
    clock.advance(FRESH_SECONDS + 0.01)
    assert {assigned(choice).pool for _ in range(20)} == {"b"}


def test_the_reason_says_how_full_the_chosen_pool_is() -> None:
    directory = Directory()
    directory.put("a", running=4)
    directory.put("b", running=9)
    assert list(assigned(choice_of(directory, ManualClock())).reasons) == ["pool a with 4 of 10 seats taken"]
