"""The figures of the simulated engine, and what a request costs it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sage_control_plane.request.features import DEFAULT_BLOCK_BYTES
from sage_control_plane.request.request import RequestKind

EMBEDDING_KINDS = frozenset({RequestKind.EMBEDDING, RequestKind.RERANK})


@dataclass(frozen=True, slots=True)
class SimulatedModels:
    """The models that an engine of a benchmark serves.

    Attributes:
        llm, embedding: their names; an empty one is not served.
        reads_markers: whether the length of an answer is what a marker in its prompt says. A real model's answer has
            the length of its ``max_tokens``, whatever it would have said.
    """

    llm: str = "simulated"
    embedding: str = "simulated-embedding"
    reads_markers: bool = True


@dataclass(frozen=True, slots=True)
class EngineModelConfig:
    """How fast and how large a simulated engine is.

    Attributes:
        prefill_tokens_per_second: prompt tokens that one engine computes in a second.
        step_base_seconds: part of a decode step that does not depend on the batch.
        step_per_sequence_seconds: part of a decode step that each running sequence adds.
        max_num_seqs: sequences that may hold a seat at once. A full batch of 48 with a third of its time spent on
            prompts has 34 ms between tokens, inside the interactive target of 50 ms; with 128 no request would be.
        kv_tokens: tokens that fit in the KV cache.
        max_context_tokens: longest prompt and output together.
        prefill_chunk_tokens: prompt tokens that one step computes at most (vLLM's ``max_num_batched_tokens`` with
            chunked prefill); its first default of 512 keeps the pause that a long prompt makes for others short.
        prefix_cache: whether prompts that share leading blocks are computed once.
        block_tokens: tokens in a prefix block.
        block_bytes: bytes of a prompt's text that count as those, where an engine is given text; a multiple of 8. Where
            it is not the classifier's, they are all that counts for a prompt's length.
        embedding_tokens_per_second: tokens that are embedded in a second.
        embedding_request_seconds: what an embedding request costs beside its tokens.
    """

    prefill_tokens_per_second: float = 8_000.0
    step_base_seconds: float = 0.006
    step_per_sequence_seconds: float = 0.000_35
    max_num_seqs: int = 48
    kv_tokens: int = 524_288
    max_context_tokens: int = 32_768
    prefill_chunk_tokens: int = 512
    prefix_cache: bool = True
    block_tokens: int = 64
    block_bytes: int = DEFAULT_BLOCK_BYTES
    embedding_tokens_per_second: float = 40_000.0
    embedding_request_seconds: float = 0.002

    def __post_init__(self) -> None:
        """Raise ValueError for a figure out of range."""
        for name in ("step_base_seconds", "step_per_sequence_seconds", "embedding_request_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        for name in (
            "prefill_tokens_per_second",
            "embedding_tokens_per_second",
            "max_num_seqs",
            "kv_tokens",
            "max_context_tokens",
            "prefill_chunk_tokens",
            "block_tokens",
            "block_bytes",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")

    def arguments(self) -> list[str]:
        """As arguments of the simulated engine's program; what is as usual is left out."""
        found: list[str] = []
        for one in fields(self):
            name, value = one.name.replace("_", "-"), getattr(self, one.name)
            if value == one.default:
                continue
            if isinstance(value, bool):
                found.append(f"--{name}" if value else f"--no-{name}")
            else:
                found += [f"--{name}", repr(value)]
        return found

    def step_seconds(self, running: int) -> float:
        """Time between two tokens of a sequence while ``running`` are decoded and no prompt is computed."""
        return self.step_base_seconds + self.step_per_sequence_seconds * running if running else 0.0

    def prompt_seconds(self, kind: RequestKind, input_tokens: int) -> float:
        """Engine time that the prompt takes, or an embedding request as a whole. ``input_tokens``: uncached ones."""
        if kind in EMBEDDING_KINDS:
            return self.embedding_request_seconds + input_tokens / self.embedding_tokens_per_second
        return input_tokens / self.prefill_tokens_per_second

    def engine_seconds(self, kind: RequestKind, input_tokens: int, output_tokens: int) -> float:
        """What a request takes of a full engine's time: its prompt, and its share of the steps of a full batch.

        The offered load of a set of requests is the sum of these; an engine is saturated where it reaches one second
        a second.
        """
        share = self.step_seconds(self.max_num_seqs) / self.max_num_seqs
        decoded = 0 if kind in EMBEDDING_KINDS else max(0, output_tokens - 1)
        return self.prompt_seconds(kind, input_tokens) + decoded * share
