"""Conversations: each turn's prompt begins with all that was said before, as engines have it in their caches."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import orjson
import pytest

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig, SimulatedModels
from sage_benchmark.simulated_engine.simulated_request import RequestReader
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.conversations import BLOCK_BYTES, BLOCK_TOKENS, Conversations
from sage_benchmark.workload.rendered_request import prefix_blocks, render
from sage_control_plane.request.features import request_features
from sage_control_plane.request.request import Endpoint

CONFIG = EngineModelConfig(block_tokens=BLOCK_TOKENS, block_bytes=BLOCK_BYTES)
LOAD = Conversations(seconds=40.0)
MODELS = SimulatedModels(embedding="")
READER = RequestReader(request_features, 32_768, CONFIG.block_bytes, CONFIG.block_tokens)


def by_conversation(arrivals: list[Arrival]) -> dict[str, list[Arrival]]:
    found = defaultdict(list)
    for arrival in arrivals:
        found[arrival.conversation].append(arrival)
    return {name: turns for name, turns in found.items() if len(turns) > 2}


def test_a_seed_makes_the_same_conversations_and_another_seed_others() -> None:
    assert LOAD.arrivals(CONFIG, 1) == LOAD.arrivals(CONFIG, 1) != LOAD.arrivals(CONFIG, 2)
    arrivals = LOAD.arrivals(CONFIG, 1)
    assert [arrival.at_seconds for arrival in arrivals] == sorted(arrival.at_seconds for arrival in arrivals)
    assert [arrival.index for arrival in arrivals] == list(range(len(arrivals)))


@pytest.mark.parametrize("answered", [False, True])
def test_a_turn_begins_with_the_one_before_and_with_its_answer(answered: bool) -> None:
    conversations = by_conversation(LOAD.arrivals(CONFIG, 1))
    assert conversations
    for turns in list(conversations.values())[:3]:
        for before, after in pairwise(turns):
            assert after.turns[: len(before.turns)] == before.turns
            first, second = (
                READER.read(Endpoint.CHAT_COMPLETIONS, {}, render(turn, MODELS, "r").body) for turn in (before, after)
            )
            known = READER.blocks(first, first.until) if answered else first.prefix_blocks
            # The last block of the question may end with what only a turn's end has.
            assert second.prefix_blocks[: len(known)] == known
            assert prefix_blocks(after, 16)[: len(prefix_blocks(before, 16))] == prefix_blocks(before, 16)


def test_answers_have_their_stated_lengths_and_are_of_their_own_conversation() -> None:
    [arrival, *_] = LOAD.arrivals(CONFIG, 1)
    read = READER.read(Endpoint.CHAT_COMPLETIONS, {}, render(arrival, MODELS, "r").body)
    assert (read.until - read.first, read.name) == (arrival.output_tokens, f"r-{arrival.conversation}")
    other = render(arrival, MODELS, "other")
    assert READER.read(Endpoint.CHAT_COMPLETIONS, {}, other.body).prefix_blocks[:1] != read.prefix_blocks[:1]


def test_prompt_tokens_are_about_those_that_engines_count() -> None:
    arrivals = LOAD.arrivals(CONFIG, 1)
    read = [READER.read(Endpoint.CHAT_COMPLETIONS, {}, render(a, MODELS, "r").body).input_tokens for a in arrivals[:40]]
    assert sum(read) == pytest.approx(sum(arrival.input_tokens for arrival in arrivals[:40]), rel=0.1)


def test_a_request_names_its_conversation_where_it_is_to() -> None:
    for tells, key in ((True, "r-c0"), (False, None)):
        arrivals = replace(LOAD, tells_session=tells).arrivals(CONFIG, 1)
        first = next(arrival for arrival in arrivals if arrival.conversation == "c0")
        assert orjson.loads(render(first, MODELS, "r").body).get("prompt_cache_key") == key


def test_the_rate_follows_the_load() -> None:
    few, many = (len(replace(LOAD, seconds=400.0, load=load).arrivals(CONFIG, 1)) for load in (0.5, 1.5))
    assert many / few == pytest.approx(3.0, rel=0.15)
