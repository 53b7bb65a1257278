"""``llm``: asks a chat model about each record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, field_validator

from sage_kernel.nodes import FieldName, FieldUse, NodeSpec
from sage_kernel.operator import Batch, OperatorType, Record, RunContext, StatelessOperator
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

    def fields_out(self, fields_in: frozenset[str]) -> frozenset[str]:
        """Return the record's fields, the answer and its model."""
        return fields_in | {self.into, f"{self.into}_model"}


class LlmOperator(StatelessOperator):
    """Asks once a record."""

    def __init__(self, node_id: str, spec: LlmNode, context: RunContext) -> None:
        self._spec = spec
        self._models = context.models
        self._prompt = Template(spec.prompt)
        self._system = Template(spec.system)

    @property
    def batch_records(self) -> int:
        """One: a slow answer holds up no other record."""
        return 1

    async def process(self, batch: Batch) -> Batch:
        """Return the records with their answers."""
        return [await self._ask(record) for record in batch]

    async def _ask(self, record: Record) -> Record:
        spec = self._spec
        messages = [{"role": "user", "content": self._prompt.render(record)}]
        if spec.system:
            messages.insert(0, {"role": "system", "content": self._system.render(record)})
        answer = await self._models.chat(messages, spec.model, spec.max_tokens, spec.temperature)
        return {**record, spec.into: answer.text, f"{spec.into}_model": answer.model}


LLM = OperatorType(LlmNode, LlmOperator)
