"""What a server says of how many requests it computes at once, in the words of each product. Pure.

A batch and its queue are told apart: requests beyond the batch are better ordered by a scheduler, and those beyond what
the server admits are refused. Only llama.cpp, SGLang and vLLM name their batch in requests; TGI and TEI fill it by
tokens, unless they are limited to a number of requests too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

# Above these a number means that there is no limit, whatever the server meant by it.
MOST_REQUESTS: Final = 1_000_000
MOST_TOKENS: Final = 2**32 - 1
# TEI answers a batch's requests together: while one is computed, the next has to be there.
BATCHES_OF_TEI: Final = 2


@dataclass(frozen=True, slots=True)
class ServerCapacity:
    """How much a server takes; None for what it does not say.

    Attributes:
        seats: requests that it computes at once.
        admitted: requests that it has at once, computed or queued; it refuses what is beyond.
        tokens: tokens that its batches hold.
    """

    seats: int | None = None
    admitted: int | None = None
    tokens: int | None = None


def read_llamacpp(answer: Mapping[str, Any]) -> ServerCapacity | None:
    """Read llama.cpp's ``/props``. Its router, which loads models when they are asked for, has no slots itself."""
    seats = _count(answer.get("total_slots"))
    return ServerCapacity(seats) if seats else None


def read_server_info(answer: Mapping[str, Any]) -> ServerCapacity | None:
    """Read SGLang's ``/get_server_info``, later ``/server_info``, or the latter of a vLLM in development mode."""
    config = answer.get("vllm_config")
    return _read_vllm(config) if isinstance(config, Mapping) else _read_sglang(answer)


def read_info(answer: Mapping[str, Any]) -> ServerCapacity | None:
    """Read ``/info`` of TGI, or of TEI."""
    if "model_id" not in answer:
        return None  # any service may have a page of this name
    admitted = _count(answer.get("max_concurrent_requests"))
    if "max_batch_tokens" in answer:
        texts, tokens = _count(answer.get("max_batch_requests")), _tokens(answer.get("max_batch_tokens"))
        seats = min(texts * BATCHES_OF_TEI, admitted or MOST_REQUESTS) if texts else None
        found = ServerCapacity(seats, admitted, tokens * BATCHES_OF_TEI if tokens else None)
    else:
        seats = _count(answer.get("max_batch_size"))
        found = ServerCapacity(seats, admitted, _tokens(answer.get("max_batch_total_tokens")))
    return found if found != ServerCapacity() else None


def _read_sglang(answer: Mapping[str, Any]) -> ServerCapacity | None:
    """Read each data-parallel replica's own limit; what was asked for is null where SGLang was to find it."""
    states = list(_objects(answer.get("internal_states")))
    effective = [_count(state.get("effective_max_running_requests_per_dp")) for state in states]
    if effective and all(effective):
        seats: int | None = sum(filter(None, effective))
    else:
        places = (answer, *states, *_objects(answer.get("scheduler_info")), *_objects(answer.get("server_args")))
        seats = next(filter(None, (_count(place.get("max_running_requests")) for place in places)), None)
    tokens = _tokens(answer.get("max_total_num_tokens"))
    if seats is None:
        return None
    return ServerCapacity(seats, tokens=min(tokens * max(1, len(states)), MOST_TOKENS) if tokens else None)


def _read_vllm(config: Mapping[str, Any]) -> ServerCapacity | None:
    (scheduler,) = _objects(config.get("scheduler_config")) or ({},)
    (parallel,) = _objects(config.get("parallel_config")) or ({},)
    seats = _count(scheduler.get("max_num_seqs"))
    # Each of the data-parallel engines has as many.
    return ServerCapacity(seats * (_count(parallel.get("data_parallel_size")) or 1)) if seats else None


# The pages, in the order in which they are asked for, and how each is read.
CAPACITY_PAGES: Final[Mapping[str, Callable[[Mapping[str, Any]], ServerCapacity | None]]] = {
    "/props": read_llamacpp,
    "/get_server_info": read_server_info,
    "/server_info?config_format=json": read_server_info,
    "/info": read_info,
}


def read_capacity(path: str, body: bytes) -> ServerCapacity | None:
    """Read one of ``CAPACITY_PAGES``; None where it says nothing of it, or is another page."""
    answer = read_object(body)
    return CAPACITY_PAGES[path](answer) if answer is not None else None


def read_object(body: bytes) -> Mapping[str, Any] | None:
    """Return the JSON object that a page is; None for any other page."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return answer if isinstance(answer, dict) else None


def _objects(value: object) -> tuple[Mapping[str, Any], ...]:
    """Return the objects: some versions have a list where others have one."""
    values = value if isinstance(value, list) else [value]
    return tuple(one for one in values if isinstance(one, Mapping))


def _count(value: object) -> int | None:
    return _positive(value, MOST_REQUESTS)


def _tokens(value: object) -> int | None:
    return _positive(value, MOST_TOKENS)


def _positive(value: object, most: int) -> int | None:
    """Return a whole number from 1, also where it is a text; None for the rest: null, 0, -1, "auto", true."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 1 <= value <= most else None
