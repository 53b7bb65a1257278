"""What goes into the engine model and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sage_benchmark.simulated_engine.engine_config import EMBEDDING_KINDS
from sage_control_plane.request.request import RequestKind


@dataclass(frozen=True, slots=True)
class EngineWork:
    """One request as the engine sees it.

    Attributes:
        key: names the request; no two in an engine at once may share it.
        output_tokens: tokens that it will generate, > 0; not used for embeddings.
        prefix_blocks: chained hashes of the prompt's leading blocks, for the prefix cache.
    """

    key: str
    kind: RequestKind
    input_tokens: int
    output_tokens: int = 0
    prefix_blocks: tuple[int, ...] = ()

    @property
    def generates(self) -> bool:
        """Whether tokens come out of it."""
        return self.kind not in EMBEDDING_KINDS

    @property
    def kv_tokens(self) -> int:
        """Tokens of KV cache that it needs to its end."""
        return self.input_tokens + self.output_tokens if self.generates else 0


class Emission(NamedTuple):
    """Tokens ``first`` to ``until`` - 1 of an answer are there at ``at`` (seconds).

    An embedding request has one emission without tokens, ``finished``.
    """

    key: str
    at: float
    first: int
    until: int
    finished: bool


class LostWork(NamedTuple):
    """A request that an engine's death has cut off, and the tokens it had generated."""

    key: str
    generated: int
