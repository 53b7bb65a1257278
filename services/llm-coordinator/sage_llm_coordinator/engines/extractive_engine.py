"""Engine ``extractive``: answers with sentences of the prompt itself, ranked by a real embedder. It generates nothing.

The embedded default where no LLM is at hand. It finds the question and the context in the prompt, has the mesh embed
the question and every sentence with the headings above it, and quotes those that answer best and do not repeat each
other, the best first (``sage_libs.answer_ranking``). Sampling options have no meaning here and are ignored; what would
promise more than quoting is refused (``extractive_request``). ``extractive_text`` states how it counts tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal

from annotated_types import Ge, Gt

from sage_common.errors import InvalidRequestError
from sage_common.setting_marks import Alias
from sage_control_plane.request.engine_state import EngineLoad, EnginePhase, EngineSpec, ModelCard
from sage_control_plane.request.request import Endpoint
from sage_libs.answer_ranking import ContextPiece, pieces_of, rank_pieces, statement_of
from sage_llm_coordinator.engines.engine_kind import EngineBlueprint, EngineKind, EngineParts, EngineSettings
from sage_llm_coordinator.engines.extractive_request import ExtractiveRequest, read_request
from sage_llm_coordinator.engines.extractive_text import answer_text, prompt_tokens, text_tokens
from sage_llm_coordinator.engines.lora_adapters import LoraAdapters
from sage_llm_coordinator.engines.openai_objects import AnswerObjects
from sage_llm_coordinator.engines.sentence_embedder import SentenceEmbedder
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.reply import Media, TokenUsage
from sage_mesh.upstream.model_list import LLM_KINDS

MODEL = "sage-extractive"
DESCRIPTION = (
    "Quotes the sentences of the prompt's context that best answer its question; it extracts and does not generate. "
    "`sage models` lists those that generate, and `sage up --llm` adds one."
)
NO_CONTEXT = (
    "I am sage-extractive: I can only quote from the context in the prompt, and there is none in yours. "
    "Put the text to answer from into the prompt, or name a model that generates (`sage models`)."
)
NOTHING_RELATED = "The context holds nothing that relates to the question; I can only quote from the context given."
# Beyond this the ranking would take seconds; the earliest sentences are kept.
MAX_RANKED_SENTENCES = 2048
MAX_CONCURRENCY: Final = 32


@dataclass(frozen=True, slots=True)
class ExtractiveSettings:
    """What all engines of the kind share.

    Attributes:
        embed_model: embedding model of the extractive engine; empty takes any.
        embed_timeout_seconds: longest wait for the vectors of one request.
        max_sentences: most sentences in an answer of the extractive engine.
    """

    embed_model: Annotated[str, Alias()] = ""
    embed_timeout_seconds: Annotated[float, Gt(0), Alias()] = 60.0
    max_sentences: Annotated[int, Ge(1), Alias()] = 4


class ExtractiveEngineSettings(EngineSettings):
    """One engine of the kind."""

    kind: Literal["extractive"] = "extractive"


class ExtractiveEngine:
    """Quotes from the prompt.

    Args:
        spec: its models are replaced by the one of this engine.
        max_sentences: most sentences in an answer.
        aliases: further names for the model.
        unix_seconds: the wall clock, for ``created``.
    """

    def __init__(
        self,
        spec: EngineSpec,
        embedder: SentenceEmbedder,
        *,
        max_sentences: int = 4,
        aliases: tuple[str, ...] = (),
        unix_seconds: Callable[[], float] = time.time,
    ) -> None:
        card = ModelCard(name=MODEL, kinds=LLM_KINDS, aliases=aliases, owned_by="sage", description=DESCRIPTION)
        self._spec = replace(spec, models=(card,))
        self._embedder = embedder
        self._max_sentences = max_sentences
        self._unix_seconds = unix_seconds
        self._was_ready = False
        self._stopped = False

    @property
    def spec(self) -> EngineSpec:
        return self._spec

    @property
    def phase(self) -> EnginePhase:
        if self._stopped:
            return EnginePhase.STOPPED
        if self._embedder.ready:
            self._was_ready = True
            return EnginePhase.READY
        return EnginePhase.UNHEALTHY if self._was_ready else EnginePhase.STARTING

    @property
    def reason(self) -> str:
        return "" if self._embedder.ready else "waits for an embedding engine, with which it ranks sentences"

    @property
    def load(self) -> EngineLoad | None:
        """None: it has no server and no queue."""
        return None

    @property
    def lora(self) -> LoraAdapters | None:
        """None: there is no model to adapt."""
        return None

    async def start(self) -> None:
        """Nothing to load: it is ready whenever an embedding engine of the mesh is."""

    async def stop(self) -> None:
        self._stopped = True

    async def run(self, request: EngineRequest, reply: ReplyWriter) -> None:
        """Answer one request.

        Raises:
            InvalidRequestError: it asks for what extraction cannot do.
            UnavailableError: no embedding engine is ready.
            SageError: what went wrong while embedding.
        """
        if request.endpoint not in (Endpoint.CHAT_COMPLETIONS, Endpoint.COMPLETIONS):
            raise InvalidRequestError(f"engine {self._spec.engine_id!r} does not serve {request.endpoint.path}")
        asked = read_request(request.endpoint, request.whole_body)
        sentences = await self._choose(asked, request)
        objects = AnswerObjects(
            request.endpoint,
            request.request_id,
            request.model or MODEL,
            int(self._unix_seconds()),
            asked.include_usage,
        )
        self._write(asked, sentences, objects, reply)

    async def _choose(self, asked: ExtractiveRequest, request: EngineRequest) -> list[str]:
        prompt = asked.prompt
        pieces = pieces_of(prompt.context_passages, prompt.headings)[:MAX_RANKED_SENTENCES]
        question = prompt.question
        if not pieces or not question:
            return [NO_CONTEXT]
        texts = [question, statement_of(question), *(piece.embedded_text for piece in pieces)]
        vectors = await self._embedder.embed(texts, request)
        chosen = rank_pieces(question, vectors[:2], vectors[2:], pieces, self._max_sentences)
        if not chosen:
            return [NOTHING_RELATED]
        return [_quoted(pieces[one.position], numbered=asked.numbered) for one in chosen]

    def _write(
        self, asked: ExtractiveRequest, sentences: list[str], objects: AnswerObjects, reply: ReplyWriter
    ) -> None:
        prefix_tokens = text_tokens(asked.answer_prefix)
        limit = None if asked.max_tokens is None else asked.max_tokens + prefix_tokens
        answer = answer_text(sentences, limit, asked.stop).after(asked.answer_prefix)
        usage = TokenUsage(prompt_tokens(asked.segments) + prefix_tokens, text_tokens(answer.text))
        reply.usage(usage)
        if not asked.streaming:
            reply.head(Media.JSON, model=objects.model)
            reply.data(objects.whole(answer.text, answer.finish_reason, usage))
            return
        # Where a longer prompt is another prompt, the answer would be another answer.
        chat = objects.endpoint is Endpoint.CHAT_COMPLETIONS
        reply.head(Media.EVENT_STREAM, model=objects.model, continuable=chat)
        opening = objects.opening()
        if opening:
            reply.data(opening)
        for piece in answer.pieces:
            reply.data(objects.piece(piece))
        reply.data(objects.closing(answer.finish_reason, usage))


def _quoted(piece: ContextPiece, *, numbered: bool) -> str:
    lead = f"{piece.evidence.lead}: " if piece.evidence.lead else ""
    return f"{lead}{piece.evidence.text}" + (f" [{piece.passage}]" if numbered else "")


def _build(blueprint: EngineBlueprint[ExtractiveEngineSettings], parts: EngineParts) -> ExtractiveEngine:
    group: ExtractiveSettings = parts.of_kinds.extractive
    embedder = parts.embedder(group.embed_model, group.embed_timeout_seconds)
    return ExtractiveEngine(
        blueprint.spec, embedder, max_sentences=group.max_sentences, aliases=blueprint.settings.aliases
    )


EXTRACTIVE = EngineKind(
    "extractive",
    ExtractiveEngineSettings,
    _build,
    short_name=lambda _: MODEL,
    seats=lambda _: MAX_CONCURRENCY,
    group=ExtractiveSettings,
)
