"""Which model a request is for, by the phases of the engines."""

from __future__ import annotations

import pytest

from sage_common.errors import UnavailableError
from sage_control_plane.request.catalog import ModelCatalog
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec, EngineState, ModelCard
from sage_control_plane.request.request import Endpoint, RequestKind

CHAT = frozenset({RequestKind.LLM_CHAT})
GIVEN_UP = "given up: the model's folder is empty\nlast words of the server"


def engine(model: str, phase: EnginePhase, reason: str = "", *, parent: str = "", name: str = "") -> EngineState:
    return EngineState(EngineSpec(name or f"e-{model}", "x", (ModelCard(model, CHAT, parent=parent),)), phase, reason)


@pytest.mark.parametrize("phase", [EnginePhase.STARTING, EnginePhase.UNHEALTHY, EnginePhase.DRAINING])
def test_the_default_model_is_one_with_a_ready_engine(phase: EnginePhase) -> None:
    catalog = ModelCatalog([engine("a", phase), engine("b", EnginePhase.READY), engine("c", EnginePhase.READY)])
    assert catalog.resolve("", Endpoint.CHAT_COMPLETIONS).card.name == "b"


def test_without_a_ready_engine_the_default_model_is_one_that_may_become_ready() -> None:
    catalog = ModelCatalog([engine("a", EnginePhase.UNHEALTHY, GIVEN_UP), engine("b", EnginePhase.STARTING)])
    assert catalog.resolve("auto", Endpoint.CHAT_COMPLETIONS).card.name == "b"


def test_a_model_that_generates_is_the_default_before_one_that_quotes() -> None:
    quoting = EngineState(EngineSpec("e", "extractive", (ModelCard("a-quoting", CHAT),)), EnginePhase.READY)
    for phase, chosen in ((EnginePhase.READY, "z"), (EnginePhase.UNHEALTHY, "a-quoting")):
        catalog = ModelCatalog([quoting, engine("z", phase)])
        assert catalog.resolve("", Endpoint.CHAT_COMPLETIONS).card.name == chosen


def test_an_adapter_is_the_default_model_only_while_no_model_of_its_own_answers() -> None:
    ready = [engine("adapter", EnginePhase.READY, parent="z"), engine("z", EnginePhase.READY)]
    assert ModelCatalog(ready).resolve("", Endpoint.CHAT_COMPLETIONS).card.name == "z"
    loading = [ready[0], engine("z", EnginePhase.STARTING)]
    assert ModelCatalog(loading).resolve("", Endpoint.CHAT_COMPLETIONS).card.name == "adapter"


@pytest.mark.parametrize("asked", ["", "a"])
def test_a_model_whose_engines_were_all_given_up_fails_with_their_reasons(asked: str) -> None:
    catalog = ModelCatalog([engine("a", EnginePhase.UNHEALTHY, GIVEN_UP, name=name) for name in ("one", "two")])
    with pytest.raises(UnavailableError) as failure:
        catalog.resolve(asked, Endpoint.CHAT_COMPLETIONS)
    assert failure.value.code == "engine_given_up"
    assert "one: given up: the model's folder is empty; two: given up" in failure.value.message
    assert "last words" not in failure.value.message


def test_a_model_with_one_engine_that_may_come_back_is_waited_for() -> None:
    states = [engine("a", EnginePhase.UNHEALTHY, GIVEN_UP, name="one"), engine("a", EnginePhase.STARTING, name="two")]
    assert ModelCatalog(states).resolve("a", Endpoint.CHAT_COMPLETIONS).card.name == "a"


def test_a_model_may_be_served_by_several_pools_and_named_by_an_alias_of_either() -> None:
    cards = (ModelCard("m", CHAT, aliases=("one",)), ModelCard("m", frozenset({RequestKind.EMBEDDING}), ("two",)))
    states = [
        EngineState(EngineSpec(f"e{n}", "x", (card,), pool), EnginePhase.READY)
        for n, (card, pool) in enumerate(((cards[1], "b"), (cards[0], "a"), (cards[0], "b")))
    ]
    catalog = ModelCatalog(states)
    entry = catalog.resolve("two", Endpoint.CHAT_COMPLETIONS)
    assert (entry.card.name, entry.pools, entry.pool) == ("m", ("a", "b"), "a")
    assert entry.kinds == CHAT | {RequestKind.EMBEDDING}
    assert (catalog.pools_of("one"), catalog.pools_of("none")) == (("a", "b"), ())
