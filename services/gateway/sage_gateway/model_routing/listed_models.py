"""The names that callers may use for models: served models, and model routes."""

from __future__ import annotations

from dataclasses import replace

from sage_client.models import ModelInfo, model_of_entry
from sage_control_plane.request.catalog import CatalogEntry, ModelCatalog
from sage_gateway.model_routing.model_router import ModelRouter


def listed_models(catalog: ModelCatalog, router: ModelRouter | None) -> list[ModelInfo]:
    """Return every model and model route by name; a route hides the served model of its name."""
    models = {entry.card.name: model_of_entry(entry) for entry in catalog.entries}
    if router is not None:
        models |= {name: _route(name, catalog, router.models_behind(name)) for name in router.names}
    return [models[name] for name in sorted(models)]


def _route(name: str, catalog: ModelCatalog, targets: tuple[str, ...]) -> ModelInfo:
    """Describe a route by the first of its models that is served: what it can do is what that one can."""
    entry = next((found for model in targets if (found := entry_of(catalog, model))), None)
    if entry is None:
        return ModelInfo(name, targets=targets)
    return replace(model_of_entry(entry), id=name, aliases=(), description="", targets=targets)


def entry_of(catalog: ModelCatalog, name: str) -> CatalogEntry | None:
    """Return the served model that is called so; None for none."""
    return next((entry for entry in catalog.entries if name in entry.card.names), None)
