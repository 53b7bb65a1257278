"""Reading an OpenAI request as the simulated engine takes it: how long its answer is, and where it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sage_benchmark.simulated_engine.answer_text import Identity, answer_text, identify, tokens_said
from sage_common.errors import InvalidRequestError
from sage_control_plane.request.body import read_body
from sage_control_plane.request.features import DEFAULT_BLOCK_BYTES, FeatureExtractor
from sage_control_plane.request.request import Endpoint, RequestKind

OUTPUT_HEADER = "x-sim-output-tokens"
OUTPUT_FIELD = "sim_output_tokens"
DEFAULT_OUTPUT_TOKENS = 16
KINDS = {
    Endpoint.CHAT_COMPLETIONS: RequestKind.LLM_CHAT,
    Endpoint.COMPLETIONS: RequestKind.LLM_GENERATE,
    Endpoint.EMBEDDINGS: RequestKind.EMBEDDING,
}


@dataclass(frozen=True, slots=True)
class SimulatedRequest:
    """One request, read.

    Attributes:
        name: identity; see ``answer_text``.
        first: first token to send; above 0 where an answer is continued.
        until: one past the last token to send; equal to ``first`` where the answer was complete already.
        finish_reason: ``length`` where ``max_tokens`` ends the answer, ``stop`` otherwise.
        prompt: its texts, without what is said already of an answer that is continued.
        texts: what to embed.
        return_progress: whether it is told how much of its prompt is cached, before the answer.
        return_token_ids: whether it is told the tokens of its prompt.
    """

    endpoint: Endpoint
    model: str
    name: str
    input_tokens: int
    prefix_blocks: tuple[int, ...] = ()
    first: int = 0
    until: int = 0
    finish_reason: str = "stop"
    streaming: bool = False
    include_usage: bool = False
    prompt: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    return_progress: bool = False
    return_token_ids: bool = False
    base64: bool = False
    dimensions: int | None = None

    @property
    def kind(self) -> RequestKind:
        """Kind of work."""
        return KINDS[self.endpoint]


class RequestReader:
    """Reads requests.

    The length of the whole answer, continued part included, is the header ``x-sim-output-tokens``, or the body's
    field ``sim_output_tokens``, or the ``out`` of a marker in the prompt, in this order. ``max_tokens`` caps what this
    one request generates, and is the length where nothing else says it; without either it is 16.

    Args:
        extract: token estimates and prefix blocks, as the classifier takes them.
        max_context_tokens: longest prompt and output together.
        block_bytes: bytes in a prefix block.
        block_tokens: tokens in one; a prompt then has so many for each block. 0 goes by the classifier's estimate, of
            which one block may have more than another.
    """

    def __init__(
        self,
        extract: FeatureExtractor,
        max_context_tokens: int,
        block_bytes: int = DEFAULT_BLOCK_BYTES,
        block_tokens: int = 0,
    ) -> None:
        self._extract = extract
        self._block_bytes, self._block_tokens = block_bytes, block_tokens
        self._max_context = max_context_tokens

    def read(self, endpoint: Endpoint, headers: Mapping[str, str], body: bytes) -> SimulatedRequest:
        """Read one request.

        Raises:
            InvalidRequestError: malformed, too long, or something that the engine does not simulate.
        """
        content = read_body(endpoint, body)
        value: dict[str, Any] = orjson.loads(body)
        tokens, blocks = self._extract(content.segments, self._block_bytes)
        if self._block_tokens:
            tokens = self._block_tokens * len(blocks) + self._block_tokens // 2
        input_tokens = max(1, tokens + content.given_tokens)
        if endpoint is Endpoint.EMBEDDINGS:
            texts = content.segments or tuple(orjson.dumps(value["input"]).decode() for _ in range(content.items))
            return SimulatedRequest(
                endpoint,
                content.model,
                identify(texts[0], fallback=texts[0]).name,
                input_tokens,
                texts=texts,
                base64=value.get("encoding_format") == "base64",
                dimensions=value.get("dimensions"),
            )
        if content.choices > 1 or content.items > 1:
            raise InvalidRequestError("the simulated engine gives one answer to one prompt", param="n")
        identity, said = _chat(value) if endpoint is Endpoint.CHAT_COMPLETIONS else _completion(value)
        name, marked = identity
        asked = content.segments
        if said:
            # What the engine said is as many tokens in a prompt as it was when it was said, whatever an estimate says.
            asked = _without(answer_text(name, 0, said), asked)
            input_tokens = max(1, self._extract(asked, self._block_bytes)[0] + content.given_tokens) + said
        wanted = _wanted(headers, value, marked)
        limit = content.max_tokens
        left = DEFAULT_OUTPUT_TOKENS if limit is None else limit
        if wanted is not None:
            left = max(0, wanted - said) if limit is None else max(0, min(limit, wanted - said))
        finish_reason = "stop" if wanted is not None and (limit is None or wanted - said < limit) else "length"
        if input_tokens + left > self._max_context:
            raise InvalidRequestError(
                f"this model's maximum context length is {self._max_context} tokens; the request has {input_tokens} "
                f"in its prompt and asks for {left}; shorten either",
                code="context_length_exceeded",
            )
        options = value.get("stream_options")
        return SimulatedRequest(
            endpoint,
            content.model,
            name,
            input_tokens,
            prefix_blocks=tuple(blocks),
            first=said,
            until=said + left,
            finish_reason=finish_reason,
            streaming=content.streaming,
            include_usage=isinstance(options, dict) and options.get("include_usage") is True,
            prompt=asked,
            return_progress=value.get("return_progress") is True,
            return_token_ids=value.get("return_token_ids") is True,
        )

    def blocks(self, request: SimulatedRequest, until: int) -> tuple[int, ...]:
        """Return the prefix blocks of a request's prompt and its answer up to a token, as its continuation has them."""
        said = answer_text(request.name, 0, until)
        *before, last = request.prompt
        chat = request.endpoint is Endpoint.CHAT_COMPLETIONS
        texts = (*request.prompt, "assistant", said) if chat else (*before, last + said)
        return tuple(self._extract(texts, self._block_bytes)[1])


def _without(said: str, segments: tuple[str, ...]) -> tuple[str, ...]:
    """The prompt without the answer at its end.

    A message that holds nothing else goes too: the mark of whose turn it is ends every chat's prompt.
    """
    *before, last = segments
    rest = last.removesuffix(said)
    return (*before, rest) if rest else tuple(before[:-1])


def _wanted(headers: Mapping[str, str], value: Mapping[str, Any], marked: int | None) -> int | None:
    given = headers.get(OUTPUT_HEADER)
    if given is not None:
        if not given.isdigit():
            raise InvalidRequestError(f"{OUTPUT_HEADER} is {given!r}; it must be a number of tokens")
        return int(given)
    field = value.get(OUTPUT_FIELD)
    if field is None:
        return marked
    if not isinstance(field, int) or isinstance(field, bool) or field < 0:
        raise InvalidRequestError(f"{OUTPUT_FIELD} is {field!r}; it must be a number of tokens", param=OUTPUT_FIELD)
    return field


def _chat(value: Mapping[str, Any]) -> tuple[Identity, int]:
    messages = value["messages"]
    user = next((_text(message) for message in messages if message["role"] == "user"), _text(messages[0]))
    identity = identify(user, fallback=user)
    if not value.get("continue_final_message"):
        return identity, 0
    # Both rules are vLLM's; an edge that breaks them must not learn it only in production.
    if value.get("add_generation_prompt", True):
        raise InvalidRequestError(
            "cannot set both continue_final_message and add_generation_prompt (true where it is not given)",
            param="add_generation_prompt",
        )
    if messages[-1]["role"] != "assistant":
        raise InvalidRequestError("continue_final_message needs an assistant's message at the end", param="messages")
    return identity, tokens_said(identity.name, _text(messages[-1]))


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    return content or ""


def _completion(value: Mapping[str, Any]) -> tuple[Identity, int]:
    prompt = value["prompt"]
    if isinstance(prompt, list):
        prompt = prompt[0] if isinstance(prompt[0], str) else orjson.dumps(prompt).decode()
    identity = identify(prompt, fallback=prompt.split("\n", 1)[0])
    return identity, tokens_said(identity.name, prompt)
