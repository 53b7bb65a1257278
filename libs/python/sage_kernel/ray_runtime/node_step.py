"""What the steps in Ray's workers have in common: the setting of a run, the operator of a node, counts and failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from sage_kernel.file_access import FileAccess
from sage_kernel.file_answers import FileAnswers
from sage_kernel.functions import FunctionRegistry
from sage_kernel.host_access import ANY_HOST
from sage_kernel.model_port import ModelPort
from sage_kernel.nodes import NodeSpec
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.problems import message_of
from sage_kernel.ray_runtime.run_report import Failure
from sage_kernel.run_context import DeadLetter, RunContext, Skipped
from sage_kernel.runtime.retries import may_pass
from sage_kernel.stage_targets import StageTargets
from sage_kernel.stream_type import StreamType


@dataclass(frozen=True)
class StepSetting:
    """What a step needs besides its node; everything in it can be sent to another process.

    Attributes:
        models: makes the port to models, in the worker.
        report: handle of the ``RunReport`` actor.
        deadline_unix: when the job's answers are wanted, in seconds since 1970; None for any time.
        indexes: by node id, object references of indexes that are complete.
    """

    models: Callable[[], ModelPort]
    files: FileAccess
    functions: FunctionRegistry
    cache_dir: Path | None
    run_id: str
    report: Any
    nodes: Mapping[str, NodeSpec]
    deadline_unix: float | None = None
    indexes: Mapping[str, Any] = field(default_factory=dict)

    def context(self) -> RunContext:
        """Return the context of operators in this process."""
        deadline = self.deadline_unix

        def skip(skipped: Skipped) -> None:
            self.report.skip.remote(skipped)

        async def dead_letter(letter: DeadLetter) -> None:
            self.report.dead_letters.remote([letter])

        keeps_answers = self.cache_dir is not None and any(getattr(node, "cache", None) for node in self.nodes.values())
        return RunContext(
            models=self.models(),
            files=self.files,
            # As a run in this process: whoever starts Ray runs pipelines of their own.
            hosts=ANY_HOST,
            functions=self.functions,
            collections=_no_collections,
            cache_dir=self.cache_dir,
            warn=lambda node, message: self.report.warn.remote(node, message),
            skip=skip,
            dead_letter=dead_letter,
            now_us=lambda: time.time_ns() // 1000,
            run_id=self.run_id,
            answers=FileAnswers(self.cache_dir / "answers.sqlite") if keeps_answers and self.cache_dir else None,
            targets=StageTargets(self.nodes, None if deadline is None else lambda: deadline - time.time()),
        )


class NodeStep:
    """Base of the steps: builds the operator, counts, and puts records aside that fail."""

    def __init__(self, node_id: str, spec: NodeSpec, inputs: Sequence[StreamType], setting: StepSetting) -> None:
        self.node_id = node_id
        self.spec = spec
        self.inputs = inputs
        self.setting = setting
        # What Ray calls it in its messages.
        self.__name__ = f"{spec.op}:{node_id}"

    def __getstate__(self) -> dict[str, Any]:
        # What was made in this process stays in it.
        return {name: value for name, value in self.__dict__.items() if name not in ("context", "operator")}

    @cached_property
    def context(self) -> RunContext:
        """What operators share, in this process."""
        return self.setting.context()

    @cached_property
    def operator(self) -> Any:
        """The operator of this process."""
        return self.build()

    def build(self) -> Any:
        """Return a new operator of the node."""
        return OPERATORS[self.spec.op].build(self.node_id, self.spec, self.context, self.inputs)

    def count(self, records_in: int, records_out: int, failed: int = 0) -> None:
        """Add to the node's counts."""
        self.setting.report.count.remote(self.node_id, records_in, records_out, failed)

    def put_aside(self, frame: pl.DataFrame, error: Exception) -> None:
        """Put records aside as ``on_error`` says. Raises what failed where it says that the run fails."""
        message = message_of(error)
        if self.spec.on_error == "fail":
            self.setting.report.fail.remote(Failure(self.node_id, self.spec.op, message))
            raise RuntimeError(f"node {self.node_id!r} failed: {message}") from None
        self.count(0, 0, frame.height)
        if self.spec.on_error == "dlq":
            attempts = 1 + (self.spec.retries if may_pass(error) else 0)
            letters = [DeadLetter(self.node_id, record, message, attempts) for record in frame.iter_rows(named=True)]
            self.setting.report.dead_letters.remote(letters)

    def halved(self, frame: pl.DataFrame, error: Exception) -> tuple[pl.DataFrame, pl.DataFrame] | None:
        """Return the halves of a batch that failed, or None when its records have been put aside."""
        if self.spec.on_error == "fail" or frame.height == 1:
            self.put_aside(frame, error)
            return None
        half = frame.height // 2
        return frame[:half], frame[half:]


def _no_collections(name: str, node_id: str, stream: StreamType) -> Any:
    raise AssertionError("sinks are written by the program that started the run")
