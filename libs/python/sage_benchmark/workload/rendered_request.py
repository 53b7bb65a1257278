"""Rendering arrivals as OpenAI requests that have the stated number of input tokens, by SAGE's own estimate."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from sage_benchmark.simulated_engine.answer_text import answer_text, marker, named
from sage_benchmark.simulated_engine.engine_config import SimulatedModels
from sage_benchmark.workload.arrival import Arrival
from sage_control_plane.request.features import request_features
from sage_control_plane.request.request import Endpoint, RequestKind, ServiceClass

ENDPOINTS = {
    RequestKind.LLM_CHAT: Endpoint.CHAT_COMPLETIONS,
    RequestKind.LLM_GENERATE: Endpoint.COMPLETIONS,
    RequestKind.EMBEDDING: Endpoint.EMBEDDINGS,
}
# Each is estimated at 28/32 of a token: a run of at most five letters. See sage_control_plane.request.features.
_VOCABULARY = (
    "able acid area army away baby back ball band bank base bath bear beat bell belt best bird blow blue boat body "
    "bone book born boss both bowl bring broad brown build cabin cable camp card care case cash cast cell chain chair "
    "charm chart chess chief city civil claim class clean clear climb clock cloud coach coast coin cold cook cool "
    "copy corn cost court cover craft cream crew crop cross crowd crown dance dark data date dawn deal debt deep desk "
    "dish door"
)
WORDS = tuple(_VOCABULARY.split())
TOKENS_PER_WORD = 28 / 32
# What the estimator counts for each text beside its words.
_TEXT_OVERHEAD = 2
# A token of a simulated answer is a name and a number, which counts as several where it stands in a prompt.
PROMPT_TOKENS_OF_ANSWER_TOKEN = 2


@dataclass(frozen=True, slots=True)
class RenderedRequest:
    """One request, ready to send. ``name`` is what a simulated engine's answer calls it."""

    name: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def render(arrival: Arrival, models: SimulatedModels, run: str) -> RenderedRequest:
    """Render one request.

    The prompt names the request and the length of its answer with a marker (see ``simulated.answer_text``), which
    passes every proxy and means nothing to a scheduler.

    Args:
        run: letters and digits that tell this run's requests from another's; without them answers would mix, and
            prompts hit the prefix cache.
    """
    name = f"{run}-{arrival.index}"
    headers = [("x-request-id", name), ("x-sage-tenant", arrival.tenant)]
    if arrival.service_class is ServiceClass.BULK:
        headers.append(("x-request-type", "bulk"))
    body = _turn(arrival, models, run) if arrival.conversation else _BODIES[arrival.kind](arrival, models, name)
    return RenderedRequest(name, ENDPOINTS[arrival.kind].path, tuple(headers), orjson.dumps(body))


def prefix_blocks(arrival: Arrival, block_tokens: int, *, answered: bool = False) -> tuple[int, ...]:
    """Block hashes of what is shared, for an engine model that is given no text.

    It is the group's prefix and, of a conversation, all that was said before as well.

    Args:
        answered: with the answer, as the conversation's next request has it; of a conversation only.
    """
    shared = _group_blocks(arrival.prefix_group, arrival.prefix_tokens // block_tokens) if arrival.prefix_group else ()
    if not arrival.conversation:
        return shared
    said = arrival.output_tokens * PROMPT_TOKENS_OF_ANSWER_TOKEN if answered else 0
    return shared + _group_blocks(arrival.conversation, (arrival.input_tokens + said) // block_tokens)[len(shared) :]


@lru_cache(maxsize=4096)
def _group_blocks(group: str, count: int) -> tuple[int, ...]:
    return tuple(
        int.from_bytes(hashlib.blake2s(f"{group}:{index}".encode(), digest_size=8).digest(), "big")
        for index in range(count)
    )


def _chat(arrival: Arrival, models: SimulatedModels, name: str) -> dict[str, Any]:
    messages = []
    if arrival.prefix_group:
        messages.append({"role": "system", "content": _prefix(arrival)})
    mark = marker(name, arrival.output_tokens)
    given = [part for message in messages for part in message.values()] + ["user", mark]
    messages.append({"role": "user", "content": f"{mark} {_filler(name, arrival.input_tokens - _tokens(given))}"})
    return {"model": models.llm, "messages": messages, **_generation(arrival, models)}


def _turn(arrival: Arrival, models: SimulatedModels, run: str) -> dict[str, Any]:
    """One question of a conversation, behind what was asked and answered before. Its answer is as long as it may be."""
    name = f"{run}-{arrival.conversation}"
    messages = [{"role": "system", "content": _filler(f"{run}:{arrival.prefix_group}", arrival.prefix_tokens)}]
    for number, turn in enumerate(arrival.turns):
        asked = _filler(f"{name}.{number}", turn.asked)
        # The first question names the conversation, and so what all its answers say.
        messages.append({"role": "user", "content": f"{named(name)} {asked}" if not number else asked})
        if number + 1 < len(arrival.turns):
            messages.append({"role": "assistant", "content": answer_text(name, 0, turn.answered)})
    body = {"model": models.llm, "messages": messages, **_generation(arrival, models)}
    return body | {"prompt_cache_key": name} if arrival.tells_session else body


def _completion(arrival: Arrival, models: SimulatedModels, name: str) -> dict[str, Any]:
    start = marker(name, arrival.output_tokens)
    if arrival.prefix_group:
        start = f"{_prefix(arrival)} {start}"
    prompt = f"{start} {_filler(name, arrival.input_tokens - _tokens([start]))}"
    return {"model": models.llm, "prompt": prompt, **_generation(arrival, models)}


def _embedding(arrival: Arrival, models: SimulatedModels, name: str) -> dict[str, Any]:
    each, rest = divmod(arrival.input_tokens, arrival.items)
    texts = [
        _filler(f"{name}.{item}", each + (item < rest) - _TEXT_OVERHEAD) or WORDS[item % len(WORDS)]
        for item in range(arrival.items)
    ]
    return {"model": models.embedding, "input": texts, "encoding_format": "base64"}


_BODIES = {RequestKind.LLM_CHAT: _chat, RequestKind.LLM_GENERATE: _completion, RequestKind.EMBEDDING: _embedding}


def _generation(arrival: Arrival, models: SimulatedModels) -> dict[str, Any]:
    fields: dict[str, Any] = {"max_tokens": max(arrival.max_tokens, arrival.output_tokens)}
    if not models.reads_markers:
        fields = {"max_tokens": arrival.output_tokens, "ignore_eos": True}
    if arrival.streaming:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return fields


def _tokens(segments: list[str]) -> int:
    return request_features(segments)[0]


def _filler(seed: str, tokens: float) -> str:
    count = max(0, round(tokens / TOKENS_PER_WORD))
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def _prefix(arrival: Arrival) -> str:
    return _filler(arrival.prefix_group, arrival.prefix_tokens)
