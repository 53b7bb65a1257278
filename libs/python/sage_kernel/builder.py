"""Pipelines in Python: ``Pipeline("triage").source("folder:docs").chunk().embed().index("kb")``.

The builder makes the same models as the YAML does. Its methods are the operators of the registry, and their keyword
arguments the parameters of each operator's spec, so a misspelt one is refused with the nearest name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sage_common.errors import InvalidRequestError
from sage_common.setting_table import nearest
from sage_kernel.node_parameters import NodeParameters
from sage_kernel.nodes import ERRORS_PORT
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.problems import PipelineInvalidError, Problem
from sage_kernel.spec import API_VERSION, PipelineSpec
from sage_kernel.validation import from_dict
from sage_kernel.validation import from_yaml as spec_from_yaml


class Stream:
    """The output of one node. Each operator is a method that adds a node behind it and returns that node's output.

    Attributes:
        id: the node's id, with the name of the output where it is a further one, as ``windows.late``.
    """

    def __init__(self, pipeline: Pipeline, node_id: str) -> None:
        self._pipeline = pipeline
        self.id = node_id

    @property
    def errors(self) -> Stream:
        """The records that failed at this node, with ``on_error="output"``."""
        return self.output(ERRORS_PORT)

    @property
    def late(self) -> Stream:
        """The records that came too late for a window or a join."""
        return self.output("late")

    def output(self, port: str) -> Stream:
        """Return a further output of this node by its name."""
        return Stream(self._pipeline, f"{self.id.partition('.')[0]}.{port}")

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
    """A pipeline under construction. Two are equal when they are the same pipeline as data.

    Args:
        name: letters, digits, ``.``, ``_`` and ``-``.
        version: counts the changes that its owner makes.
        settings: of the pipeline as a whole, such as ``deadline="10m"``.
    """

    def __init__(self, name: str, version: int = 1, **settings: Any) -> None:
        self._metadata = {"name": name, "version": version}
        self._settings = settings
        self._nodes: dict[str, dict[str, Any]] = {}

    @classmethod
    def from_yaml(cls, text: str) -> Pipeline:
        """Read YAML or JSON. Raises PipelineInvalidError with all of its errors."""
        value = spec_from_yaml(text).to_dict()
        pipeline = cls(value["metadata"]["name"], value["metadata"].get("version", 1), **value.get("settings", {}))
        pipeline._nodes = value["nodes"]
        return pipeline

    def source(
        self, uri: str | None = None, *, records: Iterable[Mapping[str, Any]] | None = None, **parameters: Any
    ) -> Stream:
        """Add a source: ``uri`` such as ``folder:docs``, or the ``records`` themselves."""
        if uri is not None:
            parameters["uri"] = uri
        if records is not None:
            parameters["records"] = list(records)
        return self.add("source", **parameters)

    def union(self, *streams: Stream, **parameters: Any) -> Stream:
        """Add a union of several streams."""
        return self.add("union", inputs=streams, **parameters)

    def add(self, op: str, *values: Any, inputs: Iterable[Stream] = (), **parameters: Any) -> Stream:
        """Add a node of any operator.

        Args:
            values: further inputs, and the parameters that the operator takes by position.
            inputs: what comes in.
            parameters: by name. ``id`` is the node's id, by default the operator's name, numbered from the second
                on; ``node_id`` is too, for operators with an ``id`` of their own.

        Raises:
            InvalidRequestError: unknown operator, too many values, an id taken, an input of another pipeline.
        """
        if op not in OPERATORS:
            raise InvalidRequestError(f"there is no operator {op!r}{nearest(op, list(OPERATORS))}")
        streams = [*inputs, *(value for value in values if isinstance(value, Stream) and self._gives_output(value))]
        for stream in (*streams, *(value for value in parameters.values() if isinstance(value, Stream))):
            if stream._pipeline is not self:
                raise InvalidRequestError(f"node {stream.id!r} belongs to another pipeline; build both in one")
        read = NodeParameters(op, OPERATORS[op].spec)
        for value in values:
            if not isinstance(value, Stream):
                read.take(value)
            elif not self._gives_output(value):
                read.take(value.id)
        for name, value in parameters.items():
            read.set(name, value.id if isinstance(value, Stream) else value)
        node_id = read.node_id or self._free_id(op)
        if node_id in self._nodes:
            raise InvalidRequestError(f"there is a node {node_id!r} already; choose another id for this {op}")
        wiring = {"in": [stream.id for stream in streams]} if streams else {}
        self._nodes[node_id] = {"op": op, **wiring, **read.parameters}
        return Stream(self, node_id)

    def build(self) -> PipelineSpec:
        """Return the pipeline as data. Raises PipelineInvalidError with all of its errors."""
        settings = {"settings": self._settings} if self._settings else {}
        return from_dict(
            {
                "apiVersion": API_VERSION,
                "kind": "Pipeline",
                "metadata": self._metadata,
                **settings,
                "nodes": self._nodes,
            }
        )

    def validate(self) -> list[Problem]:
        """Return all errors; empty when the pipeline can run."""
        try:
            self.build()
        except PipelineInvalidError as error:
            return list(error.problems)
        return []

    def to_yaml(self) -> str:
        """Return the YAML.

        Raises:
            PipelineInvalidError: with all of its errors.
            InvalidRequestError: a node holds a function of this process, which has to be named for that.
        """
        return self.build().to_yaml()

    def plot(self, path: str | Path) -> Path:
        """Draw the graph into a file, ``.svg`` or ``.mmd`` (Mermaid), and return its path.

        Raises:
            PipelineInvalidError: with all of its errors.
            InvalidRequestError: the file's name says neither.
        """
        from sage_kernel.plot.drawing import draw

        target = Path(path)
        target.write_text(draw(self.build(), target.suffix), encoding="utf-8")
        return target

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and self.build() == other.build()

    __hash__ = None  # type: ignore[assignment]

    def _gives_output(self, stream: Stream) -> bool:
        """Whether a stream carries records; that of an index is a name for ``retrieve``."""
        node = self._nodes.get(stream.id)
        return node is None or OPERATORS[node["op"]].spec.gives_output

    def _free_id(self, op: str) -> str:
        number = 1
        while (candidate := op if number == 1 else f"{op}_{number}") in self._nodes:
            number += 1
        return candidate
