"""The records of tenants, prices and model routes in NATS."""

from __future__ import annotations

from nats.js.client import JetStreamContext

from sage_common.model_routes import ModelRoute
from sage_common.prices import Price
from sage_common.tenants import Tenant
from sage_platform import subjects
from sage_platform.record_store import RecordStore


def tenant_records(js: JetStreamContext) -> RecordStore[Tenant]:
    """Return the tenants that are kept, by name."""
    return RecordStore(js, subjects.BUCKET_TENANTS, Tenant, lambda tenant: tenant.name, "tenant")


def price_records(js: JetStreamContext) -> RecordStore[Price]:
    """Return the prices of models, by model."""
    return RecordStore(js, subjects.BUCKET_PRICES, Price, lambda price: price.model, "price")


def model_route_records(js: JetStreamContext) -> RecordStore[ModelRoute]:
    """Return the model routes, by name."""
    return RecordStore(js, subjects.BUCKET_MODEL_ROUTES, ModelRoute, lambda route: route.name, "model route")
