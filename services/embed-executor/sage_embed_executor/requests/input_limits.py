"""How long an input may be, and which end of a longer one is cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sage_common.errors import InvalidRequestError
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TokenIds, TruncationSide

# OpenAI's limit on the tokens of one request, over all its inputs.
MAX_REQUEST_TOKENS = 300_000

# Values of ``truncate`` in the APIs of others (Cohere, NVIDIA, text-embeddings-inference), and the side they cut.
_SIDES: Mapping[str, TruncationSide] = {"end": "right", "right": "right", "start": "left", "left": "left"}


@dataclass(frozen=True, slots=True)
class InputLimits:
    """The limits of a request on its inputs.

    Attributes:
        max_tokens: longest input, special tokens included.
        side: which end of a longer one is cut off; None refuses it.
    """

    max_tokens: int
    side: TruncationSide | None = "right"

    def check(self, counted: Sequence[tuple[TokenIds, int]], field: str) -> Tokenised:
        """Return tokenised inputs that are within the limits.

        Args:
            counted: each input with the number of tokens that it has uncut.
            field: the field that they come from, for errors.

        Raises:
            InvalidRequestError: an input is too long and may not be cut, or all together are too many tokens.
        """
        inputs = [ids for ids, _ in counted]
        cut = [number for number, (ids, whole) in enumerate(counted) if whole > len(ids)]
        if cut and self.side is None:
            raise InvalidRequestError(
                f"'{field}[{cut[0]}]' has {counted[cut[0]][1]} tokens, the limit is {self.max_tokens}; shorten it, or "
                "leave 'truncate' out to have it cut",
                code="input_too_long",
                param=field,
            )
        total = sum(map(len, inputs))
        if total > MAX_REQUEST_TOKENS:
            raise InvalidRequestError(
                f"'{field}' holds {total} tokens, the limit is {MAX_REQUEST_TOKENS}; send several requests",
                code="too_many_tokens",
                param=field,
            )
        return Tokenised(inputs, len(cut))


@dataclass(frozen=True, slots=True)
class Tokenised:
    """The inputs of a request, ready for the model.

    Attributes:
        truncated: how many of them were cut.
    """

    inputs: list[TokenIds]
    truncated: int = 0

    @property
    def tokens(self) -> int:
        """Tokens that the model sees."""
        return sum(map(len, self.inputs))


def read_input_limits(value: Mapping[str, Any], model: ModelFolder, special_tokens: int) -> InputLimits:
    """Read ``truncate``, ``truncation_side`` and ``truncate_prompt_tokens`` of a body.

    Raises:
        InvalidRequestError: a value is invalid; ``param`` names the field.
    """
    return InputLimits(_max_tokens(value, model, special_tokens), _side(value))


def _max_tokens(value: Mapping[str, Any], model: ModelFolder, special_tokens: int) -> int:
    limit = value.get("truncate_prompt_tokens")
    # In vLLM's API -1 is the model's own limit.
    if limit is None or limit == -1:
        return model.max_tokens
    least = special_tokens + 1
    if not isinstance(limit, int) or isinstance(limit, bool) or not least <= limit <= model.max_tokens:
        raise InvalidRequestError(
            f"'truncate_prompt_tokens' must be an integer from {least} to {model.max_tokens}, "
            f"or -1 for the model's limit; got {limit!r}",
            param="truncate_prompt_tokens",
        )
    return limit


def _side(value: Mapping[str, Any]) -> TruncationSide | None:
    side = value.get("truncation_side")
    if side is not None and side not in ("left", "right"):
        raise InvalidRequestError(f"'truncation_side' must be 'left' or 'right'; got {side!r}", param="truncation_side")
    truncate = value.get("truncate")
    if truncate is None or truncate is True:
        return side or "right"
    if truncate is False or (isinstance(truncate, str) and truncate.lower() == "none"):
        return None
    named = _SIDES.get(truncate.lower()) if isinstance(truncate, str) else None
    if named is None:
        raise InvalidRequestError(
            f"'truncate' must be true, false, 'START', 'END' or 'NONE'; got {truncate!r}", param="truncate"
        )
    if side is not None and side != named:
        raise InvalidRequestError(
            f"'truncate' is {truncate!r} and 'truncation_side' is {side!r}; give one of them", param="truncate"
        )
    return named
