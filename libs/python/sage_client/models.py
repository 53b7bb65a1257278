"""The list of models, as ``/v1/models`` writes it and the client reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

from sage_control_plane.request.catalog import CatalogEntry
from sage_control_plane.request.request import RequestKind


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that some engine serves.

    Attributes:
        kinds: work that it can do; empty where the server does not list it.
        max_context_tokens, dimensions: 0 where not known.
        targets: of a model route, the served models that may answer for it, fallbacks last.
    """

    id: str
    kinds: tuple[RequestKind, ...] = ()
    aliases: tuple[str, ...] = ()
    max_context_tokens: int = 0
    dimensions: int = 0
    owned_by: str = "sage"
    description: str = ""
    pool: str = ""
    parent: str = ""
    targets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"ModelInfo({self.id!r}, {', '.join(kind.name.lower() for kind in self.kinds) or 'work unknown'})"


class ModelDocument(TypedDict):
    """OpenAI's model object with SAGE's additions; ``created`` is in Unix seconds."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int | None
    kinds: list[str]
    aliases: list[str]
    dimensions: int | None
    description: str
    parent: str | None
    pool: str
    targets: NotRequired[list[str]]


def model_of_entry(entry: CatalogEntry) -> ModelInfo:
    """Describe a model of the catalog."""
    card = entry.card
    return ModelInfo(
        id=card.name,
        kinds=tuple(sorted(entry.kinds)),
        aliases=card.aliases,
        max_context_tokens=card.max_context_tokens,
        dimensions=card.dimensions,
        owned_by=card.owned_by,
        description=card.description,
        parent=card.parent,
        pool=entry.pool,
    )


def model_to_json(model: ModelInfo, created: int) -> ModelDocument:
    """Render a model."""
    document: ModelDocument = {
        "id": model.id,
        "object": "model",
        "created": created,
        "owned_by": model.owned_by,
        "max_model_len": model.max_context_tokens or None,
        "kinds": [kind.name.lower() for kind in model.kinds],
        "aliases": list(model.aliases),
        "dimensions": model.dimensions or None,
        "description": model.description,
        "parent": model.parent or None,
        "pool": model.pool,
    }
    if model.targets:
        document["targets"] = list(model.targets)
    return document


def model_from_json(value: Mapping[str, Any]) -> ModelInfo:
    """Read a model object; a server that is not SAGE gives fewer fields. Raises KeyError without an id."""
    known = {kind.name.lower(): kind for kind in RequestKind}
    return ModelInfo(
        id=str(value["id"]),
        kinds=tuple(known[name] for name in value.get("kinds") or () if name in known),
        aliases=tuple(value.get("aliases") or ()),
        max_context_tokens=int(value.get("max_model_len") or 0),
        dimensions=int(value.get("dimensions") or 0),
        owned_by=str(value.get("owned_by") or ""),
        description=str(value.get("description") or ""),
        parent=str(value.get("parent") or ""),
        pool=str(value.get("pool") or ""),
        targets=tuple(value.get("targets") or ()),
    )
