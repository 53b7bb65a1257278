"""``llm``: asks a chat model about each record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import orjson
import polars as pl
from pydantic import Field, field_validator

from sage_common.errors import UnprocessableError
from sage_kernel.answer_store import SharedCalls, answer_key
from sage_kernel.durations import Duration
from sage_kernel.model_port import ChatText
from sage_kernel.nodes import FieldName, FieldUse, NodeSpec
from sage_kernel.operator import StatelessAsyncOperator
from sage_kernel.operator_type import OperatorType
from sage_kernel.run_context import RunContext
from sage_kernel.schema import WrittenSchema, parse_schema
from sage_kernel.stream_type import NodeProblems, StreamType, union_of
from sage_kernel.structured_answer import AnswerForm, column_of
from sage_kernel.template import Template


class LlmNode(NodeSpec):
    """Adds a model's answer.

    Attributes:
        prompt: template of the user message; a list of retrieved passages becomes a numbered context block.
        system: template of the system message; empty sends none.
        into: field that gets the text; ``<into>_model`` gets the name of the model that wrote it.
        out: fields that the answer must have, with their types, as ``{topic: string, urgency: int}``; they become
            fields of the record, instead of ``into``.
        reasks: how often a model that misses the form of ``out`` is told what was wrong and asked again.
        model: chat model; None takes the mesh's default.
        max_tokens: longest answer; None leaves it to the engine.
        temperature: None leaves it to the engine.
        slo: within which time an answer is wanted; a share of the job's deadline where that is less.
        cache: for how long an answer to the same question (model, parameters, messages) is used again, in other runs
            too. Within a run with checkpoints every answer is, so that what is read again is not paid for twice.
    """

    positional = ("prompt",)
    calls_model = True

    op: Literal["llm"]
    prompt: str = Field(min_length=1)
    system: str = ""
    into: FieldName = "answer"
    out: WrittenSchema | None = None
    reasks: int = Field(2, ge=0, le=10)
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0.0, le=2.0)
    slo: Duration | None = Field(None, gt=0)
    cache: Duration | None = Field(None, gt=0)
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
            yield from (FieldUse(parameter, name) for name in Template(text).paths)

    def added_fields(self) -> dict[str, pl.DataType]:
        """Return what an answer adds to a record."""
        if self.out is not None:
            return parse_schema(self.out)
        return {self.into: pl.String(), f"{self.into}_model": pl.String()}

    def infer(self, inputs: Sequence[StreamType], problems: NodeProblems) -> StreamType:
        """Return the record's fields and those of the answer."""
        if self.out is not None and "into" in self.model_fields_set:
            problems.add("into", "the fields of 'out' take its place", "leave one of them out")
        return union_of(inputs).with_fields(self.added_fields())


class LlmOperator(StatelessAsyncOperator):
    """Asks once a record."""

    def __init__(self, node_id: str, spec: LlmNode, context: RunContext, inputs: Sequence[StreamType]) -> None:
        self._node_id = node_id
        self._spec = spec
        self._context = context
        self._prompt = Template(spec.prompt)
        self._system = Template(spec.system)
        self._added = spec.added_fields()
        self._form = AnswerForm(self._added) if spec.out is not None else None
        self._limits = spec.model_dump(include={"max_tokens", "temperature", "out", "into"})
        self._calls = SharedCalls()
        # Of the model: whoever waits for one has looked for a kept answer already.
        self._slots = asyncio.Semaphore(spec.concurrency)

    @property
    def batch_records(self) -> int:
        """One: a slow answer holds up no other record."""
        return 1

    @property
    def calls_ahead(self) -> int:
        """As many as are asked at once: answers are looked up while others are waited for."""
        return 0 if self._context.answers is None else self._spec.concurrency

    async def process(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the records with their answers."""
        answers = [await self._answer(record) for record in frame.to_dicts()]
        added = [column_of(name, dtype, [answer[name] for answer in answers]) for name, dtype in self._added.items()]
        # Not by with_columns, whose planning takes half a millisecond a record.
        if self._added.keys().isdisjoint(frame.columns):
            return frame.hstack(added)
        columns = {column.name: column for column in (*frame.get_columns(), *added)}
        return pl.DataFrame(list(columns.values()))

    async def close(self) -> None:
        """Give up the calls that are under way."""
        await self._calls.close()

    async def _answer(self, record: Mapping[str, Any]) -> dict[str, Any]:
        messages = self._messages(record)
        store, spec = self._context.answers, self._spec
        if store is None:
            return await self._ask(messages)
        scope = "" if spec.cache else self._context.run_id
        key = answer_key(scope, spec.model, {"messages": messages, **self._limits})

        async def found_or_asked() -> bytes:
            kept = await store.get(key, spec.cache / 1e6 if spec.cache else None)
            if kept is not None:
                return kept
            async with self._slots:
                # Kept before it is given out: whoever goes on after a kill reads this very text. The slot is held until
                # then, so that a kill loses no more answers than the node's concurrency.
                made = orjson.dumps(await self._ask(messages))
                await store.put(key, made)
            return made

        answer: dict[str, Any] = orjson.loads(await self._calls.once(key, found_or_asked))
        return answer

    def _messages(self, record: Mapping[str, Any]) -> list[dict[str, str]]:
        system = self._system.render(record) if self._spec.system else ""
        if self._form is not None:
            system = f"{system}\n\n{self._form.instruction}" if system else self._form.instruction
        messages = [{"role": "user", "content": self._prompt.render(record)}]
        return [{"role": "system", "content": system}, *messages] if system else messages

    async def _ask(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        """Return the fields of an answer. Raises UnprocessableError where the model never wrote the form asked for."""
        form, spec = self._form, self._spec
        if form is None:
            text = await self._chat(messages)
            return {spec.into: text.text, f"{spec.into}_model": text.model}
        conversation = list(messages)
        for left in range(spec.reasks, -1, -1):
            text = await self._chat(conversation)
            try:
                return form.read(text.text)
            except UnprocessableError as error:
                if not left:
                    raise UnprocessableError(
                        f"none of {spec.reasks + 1} answers of {text.model!r} had the form of 'out': {error.message}"
                    ) from None
                correction = f"That was not it. {error.message}. {form.instruction}"
                conversation += [
                    {"role": "assistant", "content": text.text},
                    {"role": "user", "content": correction},
                ]
        raise AssertionError("the last round returns or raises")

    async def _chat(self, messages: list[dict[str, str]]) -> ChatText:
        spec = self._spec
        own = spec.slo / 1e6 if spec.slo is not None else None
        return await self._context.models.chat(
            messages,
            spec.model,
            spec.max_tokens,
            spec.temperature,
            json_schema=self._form.schema if self._form is not None else None,
            target_seconds=self._context.targets.target_seconds(self._node_id, own),
        )


LLM = OperatorType(LlmNode, LlmOperator)
