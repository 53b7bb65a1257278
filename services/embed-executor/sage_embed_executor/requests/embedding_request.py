"""An embeddings body, read for a model. Its shape was validated when the request was classified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sage_common.config import nearest
from sage_common.errors import InvalidRequestError
from sage_control_plane.request.body import check_embedding
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TextTokenizer, TokenIds
from sage_embed_executor.requests.input_limits import InputLimits, Tokenised, read_input_limits

# Texts tokenised in one call: the tokenizer releases the interpreter's lock, the framing of its results does not.
TOKENIZE_CHUNK = 64


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A body, read.

    Attributes:
        texts: inputs as text; empty when they are given as token ids.
        token_lists: inputs as token ids; empty when they are given as text.
        limits: on the length of inputs.
        dimensions: floats to keep of each vector; None keeps all.
        normalise: whether vectors are normalised to length 1 after the model.
        base64: whether the answer carries base64.
    """

    texts: tuple[str, ...]
    token_lists: tuple[tuple[int, ...], ...]
    limits: InputLimits
    dimensions: int | None
    normalise: bool
    base64: bool

    @property
    def characters(self) -> int:
        """Characters to tokenise, of all inputs."""
        return sum(map(len, self.texts))

    def tokenise(self, tokenizer: TextTokenizer) -> Tokenised:
        """Return the token ids of the inputs. Raises InvalidRequestError when a limit is exceeded."""
        most, side = self.limits.max_tokens, self.limits.side or "right"
        counted: list[tuple[TokenIds, int]] = []
        for start in range(0, len(self.texts), TOKENIZE_CHUNK):
            counted += tokenizer.encode_counted(self.texts[start : start + TOKENIZE_CHUNK], most, side)
        counted += (tokenizer.frame_counted(ids, most, side) for ids in self.token_lists)
        return self.limits.check(counted, "input")


def read_embedding_request(body: bytes, model: ModelFolder, special_tokens: int, dimensions: int) -> EmbeddingRequest:
    """Read a body for a model.

    Args:
        special_tokens: tokens that every input carries beside its own.
        dimensions: floats in the model's vectors.

    Raises:
        InvalidRequestError: a value that the model cannot serve; ``param`` names the field.
    """
    value: dict[str, Any] = orjson.loads(body)
    # What a remote engine may take, and judge, came here unchecked.
    check_embedding(value)
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
    kept = _dimensions(value, dimensions)
    return EmbeddingRequest(
        texts=_with_prompt(texts, value, model),
        token_lists=tuple(map(tuple, token_lists)),
        limits=read_input_limits(value, model, special_tokens),
        dimensions=kept,
        normalise=_normalise(value, model, cut=kept is not None),
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
    prompt = _prompt(value, model)
    field = "prompt_name" if value.get("prompt_name") is not None else "prompt"
    if prompt is None:
        # As encode() of sentence-transformers does. Token ids get no prompt.
        prompt = model.default_prompt if texts else ""
    elif not texts:
        raise InvalidRequestError(f"'{field}' needs text, 'input' holds token ids", param=field)
    if not prompt:
        return tuple(texts)
    if not model.pools_prompts:
        raise InvalidRequestError(
            f"the model's pooling leaves out the tokens of a prompt, here {prompt!r}, which this engine cannot do; "
            "send 'prompt': \"\" to have the input embedded without one",
            code="prompt_not_supported",
            param=field,
        )
    return tuple(prompt + text for text in texts)


def _prompt(value: Mapping[str, Any], model: ModelFolder) -> str | None:
    """Return the text that the request puts before each input; None without one."""
    name, prompt = value.get("prompt_name"), value.get("prompt")
    if prompt is not None:
        if not isinstance(prompt, str):
            raise InvalidRequestError(f"'prompt' must be a string; got {prompt!r}", param="prompt")
        if name is not None:
            raise InvalidRequestError("'prompt' and 'prompt_name' are both given; give one of them", param="prompt")
        return prompt
    if name is None:
        return None
    if name not in model.prompts:
        known = nearest(str(name), list(model.prompts)) if model.prompts else "; the model has no prompts"
        raise InvalidRequestError(f"'prompt_name' is {name!r}{known}", param="prompt_name")
    return model.prompts[name]


def _normalise(value: Mapping[str, Any], model: ModelFolder, *, cut: bool) -> bool:
    normalise = value.get("normalize")
    if normalise is not None and not isinstance(normalise, bool):
        raise InvalidRequestError(f"'normalize' must be true or false; got {normalise!r}", param="normalize")
    if normalise is False and "Normalize" in model.modules:
        raise InvalidRequestError(
            "'normalize' is false, but the model's last step brings every vector to length 1; leave it out",
            param="normalize",
        )
    return cut if normalise is None else normalise


def _dimensions(value: Mapping[str, Any], available: int) -> int | None:
    dimensions: int | None = value.get("dimensions")
    if dimensions is not None and dimensions > available:
        raise InvalidRequestError(
            f"'dimensions' is {dimensions}, the model's vectors have {available}; ask for at most that",
            param="dimensions",
        )
    return dimensions or None
