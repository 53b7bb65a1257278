"""Pipelines in Python: ``Pipeline("triage").source("folder:docs").chunk().embed().index("kb")``.

The builder makes the same models as the YAML does. Its methods are the operators of the registry, and their keyword
arguments the parameters of each operator's spec, so a misspelt one is refused with the nearest name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sage_common.config import nearest
from sage_common.errors import InvalidRequestError
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.problems import PipelineInvalidError, Problem
from sage_kernel.spec import API_VERSION, PipelineSpec
from sage_kernel.validation import from_dict
from sage_kernel.validation import from_yaml as spec_from_yaml


class Stream:
    """The output of one node. Each operator is a method that adds a node behind it and returns that node's output.

    Attributes:
        id: the node's id.
    """

    def __init__(self, pipeline: Pipeline, node_id: str) -> None:
        self._pipeline = pipeline
        self.id = node_id

    def __getattr__(self, op: str) -> Callable[..., Stream]:
        if op.startswith("_") or op not in OPERATORS or not OPERATORS[op].spec.takes_input:
            known = [name for name, entry in OPERATORS.items() if entry.spec.takes_input]
            raise AttributeError(f"there is no operator {op!r}{nearest(op, known)}")

        def add(*values: Any, **parameters: Any) -> Stream:
            return self._pipeline.add(op, *values, inputs=[self], **parameters)

        add.__doc__ = OPERATORS[op].spec.__doc__
        return add

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *(name for name, entry in OPERATORS.items() if entry.spec.takes_input)]


class Pipeline:
    """A pipeline under construction.

    Args:
        name: letters, digits, ``.``, ``_`` and ``-``.
        version: counts the changes that its owner makes.
    """

    def __init__(self, name: str, version: int = 1) -> None:
        self._metadata = {"name": name, "version": version}
        self._nodes: dict[str, dict[str, Any]] = {}

    @classmethod
    def from_yaml(cls, text: str) -> Pipeline:
        """Read YAML or JSON. Raises PipelineInvalidError with all of its errors."""
        value = spec_from_yaml(text).to_dict()
        pipeline = cls(value["metadata"]["name"], value["metadata"].get("version", 1))
        pipeline._nodes = value["nodes"]
        return pipeline

    def source(
        self, uri: str | None = None, *, records: Iterable[dict[str, Any]] | None = None, **parameters: Any
    ) -> Stream:
        """Add a source: ``uri`` such as ``folder:docs``, or the ``records`` themselves."""
        if uri is not None:
            parameters["uri"] = uri
        if records is not None:
            parameters["records"] = list(records)
        return self.add("source", **parameters)

    def add(
        self, op: str, *values: Any, inputs: Iterable[Stream] = (), id: str | None = None, **parameters: Any
    ) -> Stream:
        """Add a node of any operator, with several ``inputs`` if need be.

        Args:
            values: the parameters that the operator takes by position.
            id: node id; the operator's name, numbered from the second on, when not given.

        Raises:
            InvalidRequestError: unknown operator, too many values, an id taken, an input of another pipeline.
        """
        if op not in OPERATORS:
            raise InvalidRequestError(f"there is no operator {op!r}{nearest(op, list(OPERATORS))}")
        positional = OPERATORS[op].spec.positional
        if len(values) > len(positional):
            raise InvalidRequestError(
                f"{op} takes {len(positional)} values by position, got {len(values)}; name the others"
            )
        for name, value in zip(positional, values, strict=False):
            if name in parameters or (name == "id" and id is not None):
                raise InvalidRequestError(f"{op} got {name!r} by position and by name; give it once")
            if name == "id":
                id = value
            else:
                parameters[name] = value
        node_id = id or self._free_id(op)
        if node_id in self._nodes:
            raise InvalidRequestError(f"there is a node {node_id!r} already; choose another id for this {op}")
        sources = list(inputs)
        for stream in sources:
            if stream._pipeline is not self:
                raise InvalidRequestError(f"node {stream.id!r} belongs to another pipeline; build both in one")
        wiring = {"in": [stream.id for stream in sources]} if sources else {}
        self._nodes[node_id] = {"op": op, **wiring, **parameters}
        return Stream(self, node_id)

    def build(self) -> PipelineSpec:
        """Return the pipeline as data. Raises PipelineInvalidError with all of its errors."""
        return from_dict(
            {"apiVersion": API_VERSION, "kind": "Pipeline", "metadata": self._metadata, "nodes": self._nodes}
        )

    def validate(self) -> list[Problem]:
        """Return all errors; empty when the pipeline can run."""
        try:
            self.build()
        except PipelineInvalidError as error:
            return list(error.problems)
        return []

    def to_yaml(self) -> str:
        """Return the YAML. Raises PipelineInvalidError with all of its errors."""
        return self.build().to_yaml()

    def _free_id(self, op: str) -> str:
        number = 1
        while (candidate := op if number == 1 else f"{op}_{number}") in self._nodes:
            number += 1
        return candidate
