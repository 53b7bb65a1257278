"""How a pipeline reaches models. The client of the mesh implements it; tests use hand-written fakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors of texts.

    Attributes:
        vectors: float32, shape (n, d), row i for text i.
        model: the model that made them, as its engine names it.
    """

    vectors: npt.NDArray[np.float32]
    model: str


@dataclass(frozen=True)
class ChatText:
    """A finished chat answer; token counts are 0 where the engine did not report them."""

    text: str
    model: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str = ""


class ModelPort(Protocol):
    """Embeddings and chat. ``model=None`` means the mesh's default. Failures are ``SageError``."""

    async def embed(self, texts: Sequence[str], model: str | None = None) -> Embeddings:
        """Return one vector a text, in order; ``texts`` is not empty."""
        ...

    async def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
    ) -> ChatText:
        """Return the answer to OpenAI chat messages; ``None`` leaves a limit to the engine."""
        ...
