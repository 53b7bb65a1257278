"""A pipeline as data: the models behind the builder, the YAML, the JSON Schema and the job message."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, StringConstraints

from sage_common.errors import InvalidRequestError
from sage_kernel.durations import Duration
from sage_kernel.nodes import NodeId
from sage_kernel.operators.registry import AnyNode
from sage_kernel.pipeline_text import to_yaml

API_VERSION = "sage/v1"


class Metadata(BaseModel):
    """Which pipeline it is.

    Attributes:
        name: letters, digits, ``.``, ``_`` and ``-``; at most 63.
        version: counts the changes that its owner makes, from 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    version: int = Field(1, ge=1)


class PipelineSettings(BaseModel):
    """How a pipeline is run.

    Attributes:
        deadline: for a job from its submission to its end; split over its stages, it is the target of each request to
            a model.
        checkpoint_interval: between checkpoints of a run that keeps them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    deadline: Duration | None = Field(None, gt=0)
    checkpoint_interval: Duration = Field(10_000_000, ge=10_000)


class PipelineSpec(BaseModel):
    """A pipeline. It may still be wrong as a graph: ``sage_kernel.validation`` finds that."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    api_version: Literal["sage/v1"] = Field(alias="apiVersion")
    kind: Literal["Pipeline"]
    metadata: Metadata
    settings: PipelineSettings = PipelineSettings()
    nodes: dict[NodeId, SerializeAsAny[AnyNode]]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without what is left at its default.

        Raises:
            InvalidRequestError: a node holds a function of this process, which no text can carry.
        """
        for node_id, node in self.nodes.items():
            for parameter, function in node.user_functions():
                if callable(function):
                    raise _not_exportable(node_id, parameter, function)
        return self._values()

    def to_yaml(self) -> str:
        """Return YAML that reads back as an equal pipeline."""
        return to_yaml(self.to_dict())

    def canonical_json(self) -> str:
        """Return the one JSON text of this pipeline: sorted keys, no spaces, ASCII, no defaults."""
        return _canonical(self.to_dict())

    @property
    def spec_hash(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal: equal pipelines have equal hashes on every machine.

        A function of this process counts by its name and its code.
        """
        return hashlib.sha256(_canonical(self._values()).encode()).hexdigest()

    def _values(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _canonical(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _not_exportable(node_id: str, parameter: str, function: Any) -> InvalidRequestError:
    name = getattr(function, "__name__", type(function).__name__)
    module = getattr(function, "__module__", "package.module")
    return InvalidRequestError(
        f"node {node_id!r}, field {parameter!r}: {name!r} is a function of this process, which runs 'local' and on "
        f"'ray' only; put it into a module and write {parameter}=\"{module}:name\", which the worker has to allow",
        code="not_exportable",
    )


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a pipeline file."""
    return PipelineSpec.model_json_schema(by_alias=True)
