"""``embed``: turns a text of each record into a vector."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, field_validator

from sage_common.errors import EngineFailedError
from sage_kernel.durations import Duration
from sage_kernel.nodes import FieldName, FieldUse, NodeId, NodeSpec
from sage_kernel.operator_type import OperatorType
from sage_kernel.run_context import RunContext
from sage_kernel.stream_type import NodeProblems, StreamType, union_of
from sage_kernel.template import Template
from sage_kernel.vector_cache import VectorCache, cache_path

Vector = npt.NDArray[np.float32]
VECTOR = pl.List(pl.Float32())


BatchSize = Annotated[int, Field(ge=1, le=4096)]


class EmbedNode(NodeSpec):
    """Adds the vector of a text, a float32 array of shape (d,).

    Attributes:
        text: template of the text.
        into: field that gets the vector.
        model: embedding model; None takes the mesh's default.
        batch: most texts in a call; with a length of time, as ``[64, 10ms]``, a call waits that long to be full.
        slo: within which time a call's answer is wanted.
        cache: keep vectors between runs under this name, so that an unchanged text is not embedded again.
    """

    positional = ("text",)
    calls_model = True

    op: Literal["embed"]
    text: str = "{text}"
    into: FieldName = "vector"
    model: str | None = None
    batch: BatchSize | tuple[BatchSize, Duration] = 64
    slo: Duration | None = Field(None, gt=0)
    cache: NodeId | None = None
    concurrency: int = Field(4, ge=1, le=1024)
    retries: int = Field(2, ge=0, le=20)

    @field_validator("text")
    @classmethod
    def _is_a_template(cls, text: str) -> str:
        Template(text)
        return text

    def reads(self) -> Iterator[FieldUse]:
        """Yield the template's fields."""
        return (FieldUse("text", name) for name in Template(self.text).paths)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the record's fields and the vector, whose length only an answer tells."""
        return union_of(inputs).with_fields({self.into: VECTOR})


class EmbedOperator:
    """Embeds the texts that the cache does not hold."""

    def __init__(self, node_id: str, spec: EmbedNode, context: RunContext, inputs: Sequence[StreamType]) -> None:
        self._node_id = node_id
        self._spec = spec
        self._context = context
        self._template = Template(spec.text)
        self._cache: VectorCache | None = None
        self._opening = asyncio.Lock()

    @property
    def batch_records(self) -> int:
        """Most texts in a call."""
        batch = self._spec.batch
        return batch if isinstance(batch, int) else batch[0]

    @property
    def linger_seconds(self) -> float:
        """How long a call waits to be full."""
        batch = self._spec.batch
        return 0.0 if isinstance(batch, int) else batch[1] / 1e6

    async def process(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the records with their vectors, in order."""
        texts = [self._template.render(record) for record in frame.iter_rows(named=True)]
        vectors = await self._vectors(texts)
        return frame.with_columns(pl.Series(self._spec.into, np.stack(vectors)).cast(VECTOR))

    async def close(self) -> None:
        """Save the vectors, also of a run that failed."""
        if self._cache is not None:
            await asyncio.to_thread(self._cache.save)

    async def _vectors(self, texts: list[str]) -> list[Vector]:
        if self._spec.cache is None or self._context.cache_dir is None:
            return list((await self._embed(texts))[0])
        cache = await self._open_cache(texts[0])
        found = {text: cache.get(text) for text in texts}
        missing = [text for text, vector in found.items() if vector is None]
        if missing:
            made, _model = await self._embed(missing)
            for text, vector in zip(missing, made, strict=True):
                cache.put(text, vector)
                found[text] = vector
        return [vector for text in texts if (vector := found[text]) is not None]

    async def _open_cache(self, text: str) -> VectorCache:
        async with self._opening:
            if self._cache is None:
                # One text is embedded in any case, because only an answer tells which model serves now: vectors of
                # another one must not be taken for its own.
                vectors, model = await self._embed([text])
                assert self._spec.cache is not None
                assert self._context.cache_dir is not None
                path = cache_path(self._context.cache_dir, self._spec.cache, model)
                cache = VectorCache(path, lambda message: self._context.warn(self._node_id, message))
                await asyncio.to_thread(cache.load)
                cache.put(text, vectors[0])
                self._cache = cache
            return self._cache

    async def _embed(self, texts: list[str]) -> tuple[Vector, str]:
        own = self._spec.slo / 1e6 if self._spec.slo is not None else None
        target = self._context.targets.target_seconds(self._node_id, own)
        result = await self._context.models.embed(texts, self._spec.model, target_seconds=target)
        vectors = np.asarray(result.vectors, dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise EngineFailedError(
                f"model {result.model!r} gave vectors of shape {vectors.shape} for {len(texts)} texts, or numbers "
                "that are not finite; look at its engine's log"
            )
        return vectors, result.model


EMBED = OperatorType(EmbedNode, EmbedOperator)
