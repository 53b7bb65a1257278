"""What an embeddings body asks of this engine. Shapes were checked when the request was classified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sage_common.config import nearest
from sage_common.errors import InvalidRequestError
from sage_embed_executor.model_folder import ModelFolder
from sage_embed_executor.tokenizer import TextTokenizer, TokenIds, TruncationSide

# OpenAI's limit on the tokens of one request, over all its inputs.
MAX_REQUEST_TOKENS = 300_000


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A body, read.

    Attributes:
        texts: inputs as text; empty when they came as token ids.
        token_lists: inputs as token ids; empty when they came as text.
        max_tokens: tokens that each input is cut to.
        side: which end of a long input is cut off.
        dimensions: floats to keep of each vector; 0 keeps all.
        base64: whether the answer is to carry base64.
    """

    texts: tuple[str, ...]
    token_lists: tuple[tuple[int, ...], ...]
    max_tokens: int
    side: TruncationSide
    dimensions: int
    base64: bool

    @property
    def characters(self) -> int:
        """Characters to tokenise, all inputs together."""
        return sum(map(len, self.texts))

    def tokenise(self, tokenizer: TextTokenizer) -> list[TokenIds]:
        """Return the token ids of each input. Raises InvalidRequestError above the limit for one request."""
        if self.texts:
            inputs = tokenizer.encode(self.texts, self.max_tokens, self.side)
        else:
            inputs = [tokenizer.frame(ids, self.max_tokens, self.side) for ids in self.token_lists]
        total = sum(map(len, inputs))
        if total > MAX_REQUEST_TOKENS:
            raise InvalidRequestError(
                f"'input' holds {total} tokens, the limit is {MAX_REQUEST_TOKENS}; send several requests",
                code="too_many_tokens",
                param="input",
            )
        return inputs


def read_embedding_request(body: bytes, model: ModelFolder, special_tokens: int, dimensions: int) -> EmbeddingRequest:
    """Read a body for a model.

    Args:
        special_tokens: tokens that every input carries beside its own.
        dimensions: floats in the model's vectors.

    Raises:
        InvalidRequestError: a value that the model cannot serve; ``param`` names the field.
    """
    value: dict[str, Any] = orjson.loads(body)
    given = value["input"]
    texts: Sequence[str] = ()
    token_lists: Sequence[Sequence[int]] = ()
    if isinstance(given, str):
        texts = [given]
    elif isinstance(given[0], str):
        texts = given
    else:
        token_lists = given if isinstance(given[0], list) else [given]
        _check_vocabulary(token_lists, model, single=token_lists is not given)
    return EmbeddingRequest(
        texts=_with_prompt(texts, value, model),
        token_lists=tuple(map(tuple, token_lists)),
        max_tokens=_max_tokens(value, model, special_tokens),
        side=_side(value),
        dimensions=_dimensions(value, dimensions),
        base64=value.get("encoding_format") == "base64",
    )


def _check_vocabulary(token_lists: Sequence[Sequence[int]], model: ModelFolder, *, single: bool) -> None:
    size = model.vocabulary_size
    for number, ids in enumerate(token_lists):
        if max(ids) < size:
            continue
        position = next(index for index, token in enumerate(ids) if token >= size)
        where = f"input[{position}]" if single else f"input[{number}][{position}]"
        raise InvalidRequestError(
            f"'{where}' is token id {ids[position]}, the model has ids 0 to {size - 1}; "
            "use ids of the model's own tokenizer, or send text",
            code="invalid_token_id",
            param="input",
        )


def _with_prompt(texts: Sequence[str], value: Mapping[str, Any], model: ModelFolder) -> tuple[str, ...]:
    name = value.get("prompt_name")
    if name is None:
        return tuple(texts)
    if name not in model.prompts:
        known = nearest(str(name), list(model.prompts)) if model.prompts else "; the model has no prompts"
        raise InvalidRequestError(f"'prompt_name' is {name!r}{known}", param="prompt_name")
    if not texts:
        raise InvalidRequestError("'prompt_name' needs text, 'input' holds token ids", param="prompt_name")
    return tuple(model.prompts[name] + text for text in texts)


def _max_tokens(value: Mapping[str, Any], model: ModelFolder, special_tokens: int) -> int:
    limit = value.get("truncate_prompt_tokens")
    # -1 is vLLM's way of saying the model's own limit.
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


def _side(value: Mapping[str, Any]) -> TruncationSide:
    side = value.get("truncation_side")
    if side is None or side == "right":
        return "right"
    if side == "left":
        return "left"
    raise InvalidRequestError(f"'truncation_side' must be 'left' or 'right'; got {side!r}", param="truncation_side")


def _dimensions(value: Mapping[str, Any], available: int) -> int:
    wanted = value.get("dimensions") or 0
    if wanted > available:
        raise InvalidRequestError(
            f"'dimensions' is {wanted}, the model's vectors have {available}; ask for at most that", param="dimensions"
        )
    return int(wanted)
