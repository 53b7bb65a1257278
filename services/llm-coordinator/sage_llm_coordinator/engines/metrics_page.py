"""A server's load, from its Prometheus page. Pure.

vLLM and others have renamed their metrics more than once; each figure here has every name it has had. Lines are looked
up by name, not parsed: a page of vLLM is some 600 lines of which a dozen matter, and it is read several times a second.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# Tensor- and pipeline-parallel ranks of one engine repeat each other's figures (SGLang); those of rank 0 count.
_OTHER_RANK = re.compile(rb'(?:tp|pp)_rank="[^0"]')
_LABEL = re.compile(rb'(\w+)="([^"]*)"')

# The first name of a row that the page has counts. A server in the middle of a rename shows both.
_RUNNING = (b"vllm:num_requests_running", b"sglang:num_running_reqs", b"llamacpp:requests_processing")
_WAITING = (b"vllm:num_requests_waiting", b"sglang:num_queue_reqs", b"llamacpp:requests_deferred")
# vLLM's first engine moved requests out of a full cache; those wait like any other.
_SWAPPED = (b"vllm:num_requests_swapped",)
_KV_USAGE = (
    b"vllm:kv_cache_usage_perc",
    b"vllm:gpu_cache_usage_perc",
    b"sglang:token_usage",
    b"llamacpp:kv_cache_usage_ratio",
)
_PREFIX_QUERIES = (
    b"vllm:prefix_cache_queries_total",
    b"vllm:gpu_prefix_cache_queries_total",
    b"vllm:gpu_prefix_cache_queries",
)
_PREFIX_HITS = (
    b"vllm:prefix_cache_hits_total",
    b"vllm:gpu_prefix_cache_hits_total",
    b"vllm:gpu_prefix_cache_hits",
    b"llamacpp:prompt_tokens_cached_total",
)
# llama.cpp counts the tokens that it had to compute, and not all that it looked up.
_PREFIX_MISSES = (b"llamacpp:prompt_tokens_total",)
_PREFIX_RATE = (b"vllm:gpu_prefix_cache_hit_rate", b"sglang:cache_hit_rate")
_INTER_TOKEN = (
    b"vllm:inter_token_latency_seconds",
    b"vllm:time_per_output_token_seconds",
    b"sglang:inter_token_latency_seconds",
    b"sglang:time_per_output_token_seconds",
)
_FIRST_TOKEN = (b"vllm:time_to_first_token_seconds", b"sglang:time_to_first_token_seconds")
_QUEUE = (b"vllm:request_queue_time_seconds", b"sglang:queue_time_seconds")
_CACHE_TOKENS = (b"sglang:max_total_num_tokens",)
_CACHE_CONFIG: Final = b"vllm:cache_config_info"


def _summaries(names: tuple[bytes, ...], tail: bytes) -> tuple[bytes, ...]:
    return tuple(name + tail for name in names)


_GAUGES_AND_COUNTERS: Final[dict[str, tuple[bytes, ...]]] = {
    "running": _RUNNING,
    "waiting": _WAITING,
    "swapped": _SWAPPED,
    "kv_usage": _KV_USAGE,
    "prefix_queries": _PREFIX_QUERIES,
    "prefix_hits": _PREFIX_HITS,
    "prefix_misses": _PREFIX_MISSES,
    "prefix_rate": _PREFIX_RATE,
    "cache_tokens": _CACHE_TOKENS,
    "inter_token_sum": (*_summaries(_INTER_TOKEN, b"_sum"), b"llamacpp:tokens_predicted_seconds_total"),
    "inter_token_count": (*_summaries(_INTER_TOKEN, b"_count"), b"llamacpp:tokens_predicted_total"),
    "first_token_sum": _summaries(_FIRST_TOKEN, b"_sum"),
    "first_token_count": _summaries(_FIRST_TOKEN, b"_count"),
    "queue_sum": _summaries(_QUEUE, b"_sum"),
    "queue_count": _summaries(_QUEUE, b"_count"),
}
_WANTED: Final = frozenset(name for names in _GAUGES_AND_COUNTERS.values() for name in names)


@dataclass(frozen=True, slots=True)
class Total:
    """The sum and the number of a histogram's observations since the server started."""

    sum: float = 0.0
    count: float = 0.0


@dataclass(frozen=True, slots=True)
class MetricsPage:
    """One page's figures; those that the server does not report are zero, as in ``EngineLoad``.

    Attributes:
        running, waiting: requests, over all engines of the server.
        kv_cache_usage: share from 0 to 1; the mean over the server's engines.
        cache_tokens: tokens that fit the KV caches; None when not reported.
        prefix_hits: queried and found tokens, as a total.
        prefix_hit_rate: as the server computes it, where it gives a rate and no totals.
        first_token, inter_token, queue: seconds.
    """

    running: int = 0
    waiting: int = 0
    kv_cache_usage: float = 0.0
    cache_tokens: int | None = None
    prefix_hits: Total = Total()
    prefix_hit_rate: float = 0.0
    first_token: Total = Total()
    inter_token: Total = Total()
    queue: Total = Total()


def read_metrics(page: bytes) -> MetricsPage | None:
    """Read a page in Prometheus' text format; return None where it reports no engine's load."""
    found: dict[bytes, list[float]] = {}
    cache_tokens = 0
    for line in page.split(b"\n"):
        name = line.partition(b"{")[0]
        if name not in _WANTED:
            if name == _CACHE_CONFIG:
                cache_tokens += _configured_tokens(line)
                continue
            # A sample without labels.
            name = line.partition(b" ")[0]
            if name not in _WANTED:
                continue
        value = _value(line)
        if value is not None and not _OTHER_RANK.search(line):
            found.setdefault(name, []).append(value)
    figures = {
        figure: next((found[name] for name in names if name in found), None)
        for figure, names in _GAUGES_AND_COUNTERS.items()
    }
    if figures["running"] is None and figures["waiting"] is None:
        return None
    total = {figure: sum(values or ()) for figure, values in figures.items()}
    hits, misses = total["prefix_hits"], total["prefix_misses"]
    # A llama.cpp that does not count what it found cached has no rate.
    queries = total["prefix_queries"] or (hits + misses if figures["prefix_hits"] else 0.0)
    return MetricsPage(
        running=int(total["running"]),
        waiting=int(total["waiting"] + total["swapped"]),
        kv_cache_usage=_share(figures["kv_usage"]),
        cache_tokens=cache_tokens or int(total["cache_tokens"]) or None,
        prefix_hits=Total(hits, queries),
        prefix_hit_rate=_share(figures["prefix_rate"]),
        first_token=Total(total["first_token_sum"], total["first_token_count"]),
        inter_token=Total(total["inter_token_sum"], total["inter_token_count"]),
        queue=Total(total["queue_sum"], total["queue_count"]),
    )


def _value(line: bytes) -> float | None:
    """Return the sample's value: after the labels, and before a time stamp if there is one."""
    words = line.rpartition(b"}")[2].split() if b"}" in line else line.split()[1:]
    try:
        value = float(words[0])
    except (IndexError, ValueError):
        return None
    # NaN and infinities say nothing that could be added up.
    return value if abs(value) < float("inf") else None


def _share(values: list[float] | None) -> float:
    """Return the mean, as a share; vLLM reports -1 where there is no cache to be hit."""
    return min(1.0, max(0.0, sum(values) / len(values))) if values else 0.0


def _configured_tokens(line: bytes) -> int:
    labels = dict(_LABEL.findall(line))
    # Newer servers report it; it is right for models whose layers cache differently, too.
    reported = labels.get(b"kv_cache_size_tokens", b"")
    if reported.isdigit():
        return int(reported)
    blocks, size = labels.get(b"num_gpu_blocks", b""), labels.get(b"block_size", b"")
    return int(blocks) * int(size) if blocks.isdigit() and size.isdigit() else 0
