"""A pipeline as data: the models behind the builder, the YAML, the JSON Schema and the job message."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, StringConstraints

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
        """Return JSON values, without what is left at its default."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def to_yaml(self) -> str:
        """Return YAML that reads back as an equal pipeline."""
        return to_yaml(self.to_dict())

    def canonical_json(self) -> str:
        """Return the one JSON text of this pipeline: sorted keys, no spaces, ASCII, no defaults."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def spec_hash(self) -> str:
        """SHA-256 of the canonical JSON, in hexadecimal: equal pipelines have equal hashes on every machine."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a pipeline file."""
    return PipelineSpec.model_json_schema(by_alias=True)
