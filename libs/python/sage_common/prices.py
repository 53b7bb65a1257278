"""What models cost: a table of prices, and what a request comes to by it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sage_common.labels import MAX_MODEL_CHARACTERS

# Money is counted in billionths of the currency of the table, whatever that is.
NANOS = 10**9
MICROS = 10**6
# Prices to a millionth, and below what 64 bits hold of them for a million tokens.
PricePerMillion = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=6)]


class Price(BaseModel):
    """What a model costs for each million tokens.

    Attributes:
        model: its name, as ``/v1/models`` lists it; ``*`` for all that are not named.
        prompt: of prompts, and of texts to embed or rank.
        cached_prompt: of that part of a prompt which the engine had in its cache; None for the price of prompts.
        completion: of generated tokens.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, max_length=MAX_MODEL_CHARACTERS)
    prompt: PricePerMillion
    cached_prompt: PricePerMillion | None = None
    completion: PricePerMillion = Decimal(0)

    def nanos(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> int:
        """Return what so many tokens cost in billionths, rounded up; cached ones are among those of the prompt."""
        prompt, cached_prompt, completion = self._micros
        cached = min(cached_tokens, prompt_tokens)
        micros = (prompt_tokens - cached) * prompt + cached * cached_prompt + completion_tokens * completion
        return -(-micros // 1_000)

    @cached_property
    def _micros(self) -> tuple[int, int, int]:
        """The prices in millionths, since requests are many and decimals slow."""
        cached_prompt = self.prompt if self.cached_prompt is None else self.cached_prompt
        return (int(self.prompt * MICROS), int(cached_prompt * MICROS), int(self.completion * MICROS))


def price_of(prices: Mapping[str, Price], model: str) -> Price | None:
    """Return a model's price, or that of all models that are not named; None for none."""
    return prices.get(model) or prices.get("*")
