"""``llm``: asks a chat model about each record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import polars as pl
from pydantic import Field, field_validator

from sage_kernel.model_port import ChatText
from sage_kernel.nodes import FieldName, FieldUse, NodeSpec
from sage_kernel.operator import OperatorType, Record, RunContext, StatelessAsyncOperator
from sage_kernel.stream_type import NodeProblems, StreamType, union_of
from sage_kernel.template import Template


class LlmNode(NodeSpec):
    """Adds a model's answer.

    Attributes:
        prompt: template of the user message; a list of retrieved passages becomes a numbered context block.
        system: template of the system message; empty sends none.
        into: field that gets the text; ``<into>_model`` gets the name of the model that wrote it.
        model: chat model; None takes the mesh's default.
        max_tokens: longest answer; None leaves it to the engine.
        temperature: None leaves it to the engine.
    """

    positional = ("prompt",)

    op: Literal["llm"]
    prompt: str = Field(min_length=1)
    system: str = ""
    into: FieldName = "answer"
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0.0, le=2.0)
    concurrency: int = Field(8, ge=1, le=1024)
    retries: int = Field(2, ge=0, le=20)

    @field_validator("prompt", "system")
    @classmethod
    def _is_a_template(cls, text: str) -> str:
        Template(text)
        return text

    def reads(self) -> Iterator[FieldUse]:
        """Yield the templates' fields."""
        for parameter, text in (("prompt", self.prompt), ("system", self.system)):
            yield from (FieldUse(parameter, name) for name in Template(text).fields)

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the record's fields, the answer and its model."""
        return union_of(inputs).with_fields({self.into: pl.String(), f"{self.into}_model": pl.String()})


class LlmOperator(StatelessAsyncOperator):
    """Asks once a record."""

    def __init__(self, node_id: str, spec: LlmNode, context: RunContext, inputs: Sequence[StreamType]) -> None:
        self._spec = spec
        self._models = context.models
        self._prompt = Template(spec.prompt)
        self._system = Template(spec.system)

    @property
    def batch_records(self) -> int:
        """One: a slow answer holds up no other record."""
        return 1

    async def process(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the records with their answers."""
        answers = [await self._ask(record) for record in frame.iter_rows(named=True)]
        into = self._spec.into
        return frame.with_columns(
            pl.Series(into, [answer.text for answer in answers], dtype=pl.String),
            pl.Series(f"{into}_model", [answer.model for answer in answers], dtype=pl.String),
        )

    async def _ask(self, record: Record) -> ChatText:
        spec = self._spec
        messages = [{"role": "user", "content": self._prompt.render(record)}]
        if spec.system:
            messages.insert(0, {"role": "system", "content": self._system.render(record)})
        return await self._models.chat(messages, spec.model, spec.max_tokens, spec.temperature)


LLM = OperatorType(LlmNode, LlmOperator)
