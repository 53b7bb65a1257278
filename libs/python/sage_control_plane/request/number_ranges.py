"""The numbers of a body that an engine could be stopped by, and the ranges that they must be in.

The ranges are wide: they keep out what no engine is meant to be asked, ``n`` of a thousand million for one, and do not
judge in an engine's place. Values of another type than a number are the engine's to judge too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sage_common.errors import InvalidRequestError

INT32: Final = 2**31 - 1
INT64: Final = 2**63 - 1
# OpenAI's limit for n. Each choice is a sequence of its own to the engine.
MAX_CHOICES: Final = 128
# Prompts of one request times the choices of each.
MAX_SEQUENCES: Final = 4096
# OpenAI's limit is 20; vLLM lets its operator set another, and takes -1 for all.
MAX_LOGPROBS: Final = 1000
MAX_DIMENSIONS: Final = 65_536

_TOKENS: Final = (-1, INT32)
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "n": (1, MAX_CHOICES),
    "best_of": (1, MAX_CHOICES),
    "max_tokens": _TOKENS,
    "max_completion_tokens": _TOKENS,
    "min_tokens": _TOKENS,
    "truncate_prompt_tokens": _TOKENS,
    "top_k": _TOKENS,
    "logprobs": (-1, MAX_LOGPROBS),
    "top_logprobs": (-1, MAX_LOGPROBS),
    "prompt_logprobs": (-1, MAX_LOGPROBS),
    "dimensions": (1, MAX_DIMENSIONS),
    "top_n": (1, INT32),
    "seed": (-INT64 - 1, INT64),
    "temperature": (0, 100),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "presence_penalty": (-100, 100),
    "frequency_penalty": (-100, 100),
    "repetition_penalty": (0, 100),
    "length_penalty": (-100, 100),
}


def check_ranges(body: Mapping[str, Any]) -> None:
    """Check every number of a body that has a range. Raises InvalidRequestError; ``param`` names the field."""
    for name in RANGES.keys() & body.keys():
        value = body[name]
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            continue
        least, most = RANGES[name]
        # Written so that NaN is in no range.
        if least <= value <= most:
            continue
        kind = "integer" if isinstance(least, int) and isinstance(value, int) else "decimal"
        side = "below_min" if value < least else "above_max"
        raise InvalidRequestError(
            f"'{name}' must be from {_shown(least)} to {_shown(most)}; got {_shown(value)}",
            code=f"{kind}_{side}_value",
            param=name,
        )


def check_sequences(choices: int, prompts: int) -> None:
    """Check how many sequences an engine would compute for one request. Raises InvalidRequestError."""
    if choices * prompts > MAX_SEQUENCES:
        raise InvalidRequestError(
            f"'n' is {choices} for each of {prompts} prompts; one request may ask for {MAX_SEQUENCES} sequences in all",
            code="integer_above_max_value",
            param="n",
        )


def _shown(value: float) -> str:
    text = str(value) if isinstance(value, int) else f"{value:g}"
    return text if len(text) <= 40 else f"{text[:37]}..."
