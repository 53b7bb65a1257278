"""What a request is."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from sage_common.errors import InvalidRequestError, NotFoundError, UnavailableError
from sage_control_plane.request.catalog import ModelCatalog
from sage_control_plane.request.classification import ClassificationRules, RequestClassifier
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec, EngineState, ModelCard
from sage_control_plane.request.features import request_features
from sage_control_plane.request.request import (
    Classification,
    Endpoint,
    Hints,
    Priority,
    RequestKind,
    ServiceClass,
    ServiceLevel,
)

LLM = frozenset({RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE})
EMBED = frozenset({RequestKind.EMBEDDING})


def engine(
    engine_id: str, *cards: ModelCard, pool: str = "main", phase: EnginePhase = EnginePhase.READY
) -> EngineState:
    return EngineState(EngineSpec(engine_id, "test", cards, pool), phase)


CATALOG = ModelCatalog(
    [
        engine("llm-0", ModelCard("llama", LLM, aliases=("small",))),
        engine("embed-0", ModelCard("minilm", EMBED), pool="vectors"),
    ]
)


def classify(
    endpoint: Endpoint = Endpoint.CHAT_COMPLETIONS,
    hints: Hints = Hints(),  # noqa: B008 - frozen
    tenant: str = "default",
    rules: ClassificationRules | None = None,
    catalog: ModelCatalog = CATALOG,
    **fields: Any,
) -> Classification:
    if endpoint is Endpoint.CHAT_COMPLETIONS:
        fields.setdefault("messages", [{"role": "user", "content": "hello there"}])
        fields.setdefault("model", "llama")
    return RequestClassifier(request_features, rules).classify(endpoint, orjson.dumps(fields), hints, tenant, catalog)


def test_a_chat_is_interactive_with_the_class_targets() -> None:
    value = classify(stream=True)
    assert (value.kind, value.pool, value.model) == (RequestKind.LLM_CHAT, "main", "llama")
    assert value.service_class is ServiceClass.INTERACTIVE
    assert value.slo == ServiceLevel(ttft_ms=500, tpot_ms=50)
    assert value.streaming
    assert not value.sheddable
    assert value.resumable


def test_an_alias_resolves_to_the_models_name() -> None:
    assert classify(model="small").model == "llama"


def test_a_request_without_a_model_takes_one_that_can() -> None:
    assert classify(model="").model == "llama"
    assert classify(Endpoint.EMBEDDINGS, input="x").model == "minilm"


def test_a_chat_for_an_embedding_model_names_the_right_endpoint() -> None:
    with pytest.raises(InvalidRequestError, match="use /v1/embeddings"):
        classify(model="minilm")


def test_an_unknown_model_is_not_found_and_the_nearest_is_named() -> None:
    with pytest.raises(NotFoundError, match="did you mean 'llama'"):
        classify(model="lama")


def test_an_empty_mesh_is_unavailable_rather_than_not_found() -> None:
    with pytest.raises(UnavailableError, match="no engine is registered yet"):
        classify(catalog=ModelCatalog())
    stopped = ModelCatalog([engine("e", ModelCard("llama", LLM), phase=EnginePhase.STOPPED)])
    with pytest.raises(UnavailableError):
        classify(catalog=stopped)


def test_a_small_embedding_request_has_a_target_and_a_large_one_is_bulk() -> None:
    assert classify(Endpoint.EMBEDDINGS, input=["a"] * 32).service_class is ServiceClass.EMBEDDING
    large = classify(Endpoint.EMBEDDINGS, input=["a"] * 33)
    assert large.service_class is ServiceClass.BULK
    assert large.sheddable
    assert large.items == 33


def test_headers_change_class_priority_and_targets() -> None:
    value = classify(hints=Hints(Priority.HIGH, ServiceClass.BULK, slo_ttft_ms=10, slo_tpot_ms=20, slo_deadline_ms=30))
    assert value.service_class is ServiceClass.BULK
    assert value.priority is Priority.HIGH
    assert value.slo == ServiceLevel(10, 20, 30)


def test_background_priority_is_bulk_work() -> None:
    assert classify(hints=Hints(Priority.BACKGROUND)).service_class is ServiceClass.BULK


@pytest.mark.parametrize(("tier", "priority"), [("priority", Priority.HIGH), ("flex", Priority.LOW)])
def test_openai_service_tiers_map_to_priorities(tier: str, priority: Priority) -> None:
    assert classify(service_tier=tier).priority is priority


def test_a_tenant_cannot_rise_above_its_ceiling_and_the_reasons_say_so() -> None:
    rules = ClassificationRules(tenant_ceilings={"small-fry": Priority.NORMAL})
    value = classify(hints=Hints(Priority.CRITICAL), tenant="small-fry", rules=rules)
    assert value.priority is Priority.NORMAL
    assert any("ceiling" in reason for reason in value.reasons)
    assert classify(hints=Hints(Priority.CRITICAL), tenant="other", rules=rules).priority is Priority.CRITICAL


@pytest.mark.parametrize(
    ("ceiling", "asked", "given"),
    [
        (ServiceClass.DEFAULT, ServiceClass.INTERACTIVE, ServiceClass.DEFAULT),
        (ServiceClass.DEFAULT, ServiceClass.BULK, ServiceClass.BULK),
        (ServiceClass.DEFAULT, ServiceClass.EMBEDDING, ServiceClass.EMBEDDING),
        (ServiceClass.BULK, ServiceClass.EMBEDDING, ServiceClass.BULK),
        (ServiceClass.INTERACTIVE, ServiceClass.INTERACTIVE, ServiceClass.INTERACTIVE),
    ],
)
def test_a_request_above_its_tenants_class_is_lowered_and_loses_its_tighter_targets(
    ceiling: ServiceClass, asked: ServiceClass, given: ServiceClass
) -> None:
    classifier = RequestClassifier(request_features)
    classifier.set_class_ceilings({"acme": ceiling})
    body = b'{"model":"llama","messages":[{"role":"user","content":"hello"}]}'
    hints = Hints(service_class=asked, slo_ttft_ms=7)
    value = classifier.classify(Endpoint.CHAT_COMPLETIONS, body, hints, "acme", CATALOG)
    is_lowered = given is not asked
    assert (value.service_class, value.sheddable) == (given, given is ServiceClass.BULK)
    assert (value.slo.ttft_ms == 7) is not is_lowered
    assert any("lowered to tenant 'acme''s ceiling" in reason for reason in value.reasons) is is_lowered


def test_output_is_estimated_from_input_limit_and_cap() -> None:
    long_text = [{"role": "user", "content": "word " * 4000}]
    assert classify(messages=long_text).output_tokens == 512
    assert classify(messages=long_text, max_tokens=10).output_tokens == 10
    assert classify(messages=long_text, max_completion_tokens=9, max_tokens=10).output_tokens == 9
    assert classify(Endpoint.EMBEDDINGS, input="x").output_tokens == 0


def test_the_callers_limit_is_kept_for_all_choices_and_prompts() -> None:
    assert classify().most_output_tokens == 0
    assert classify(max_tokens=10).most_output_tokens == 10
    assert classify(max_tokens=10_000).most_output_tokens == 10_000  # what is expected stays below the cap
    assert classify(max_tokens=10, n=3).most_output_tokens == 30
    assert classify(Endpoint.COMPLETIONS, prompt=["a", "b"], max_tokens=10).most_output_tokens == 20
    assert classify(max_tokens=2**31 - 1, n=4).most_output_tokens == 2**31 - 1
    assert classify(Endpoint.EMBEDDINGS, input="x", max_tokens=10).most_output_tokens == 0


def test_a_longer_conversation_keeps_the_prefix_blocks_of_the_shorter_one() -> None:
    turns = [{"role": "user", "content": "tell me about queues " * 40}]
    shorter = classify(messages=turns).prefix_blocks
    longer = classify(messages=[*turns, {"role": "assistant", "content": "they are fair " * 40}]).prefix_blocks
    assert shorter
    assert longer[: len(shorter)] == shorter
    assert len(longer) > len(shorter)


def test_a_session_is_the_callers_key_within_its_tenant() -> None:
    one = classify(prompt_cache_key="k").session
    assert one == classify(prompt_cache_key="k", user="ann").session != 0
    assert classify(user="k").session == one, "the user stands in for the key"
    assert len({one, classify(prompt_cache_key="k", tenant="t").session, classify(prompt_cache_key="l").session}) == 3
    assert classify().session == classify(prompt_cache_key="", user=5).session == 0


def test_what_cannot_be_continued_says_so() -> None:
    assert not classify(tools=[{"type": "function"}]).resumable
    assert not classify(Endpoint.COMPLETIONS, prompt=["a", "b"]).resumable
    assert not classify(Endpoint.COMPLETIONS, prompt=[1, 2, 3]).resumable
    assert not classify(Endpoint.EMBEDDINGS, input="x").resumable


def test_a_model_in_two_pools_names_both_and_goes_to_the_first_until_one_is_chosen() -> None:
    card = ModelCard("llama", LLM)
    catalog = ModelCatalog([engine("a", card, pool="two"), engine("b", card, pool="one")])
    found = classify(Endpoint.COMPLETIONS, catalog=catalog, model="llama", prompt="hi")
    assert found.pool == "one"
    assert "pools one, two serve llama" in found.reasons


def test_engines_of_one_pool_add_up_the_kinds_of_a_model() -> None:
    catalog = ModelCatalog([engine("a", ModelCard("m", LLM)), engine("b", ModelCard("m", EMBED))])
    assert catalog.resolve("m", Endpoint.EMBEDDINGS).kinds == LLM | EMBED
