"""Classification as the classifier does it, and every edge in its stead: the settings, and one message at a time."""

from __future__ import annotations

from typing import ClassVar, Final

from pydantic import Field, field_validator

from sage.inference.v1 import request_pb2
from sage_common.config import SectionSettings, nearest
from sage_common.errors import InternalError, SageError
from sage_common.logging import get_logger
from sage_control_plane.request.classification import ClassificationRules, RequestClassifier
from sage_control_plane.request.features import DEFAULT_BLOCK_BYTES, MAX_BLOCK_BYTES
from sage_control_plane.request.request import Endpoint, Priority
from sage_mesh.pool_choice import PoolChoice
from sage_mesh.wire.members import Members
from sage_mesh.wire.requests import classification_to_wire, hints_from_wire, id_fields, tenant_from_wire

log = get_logger(__name__)

_ENDPOINTS: Final = Members(Endpoint)


class ClassificationSettings(SectionSettings):
    """Section ``classification``."""

    section: ClassVar[str] = "classification"

    block_bytes: int = Field(DEFAULT_BLOCK_BYTES, ge=64, le=MAX_BLOCK_BYTES, multiple_of=8, description="prefix block")
    output_cap_tokens: int = Field(512, ge=1, description="longest output assumed when a caller sets no limit")
    tenant_ceilings: dict[str, str] = Field(
        default_factory=dict, description="most urgent priority of a tenant: critical, high, normal, low, background"
    )

    @field_validator("tenant_ceilings")
    @classmethod
    def _known_priorities(cls, value: dict[str, str]) -> dict[str, str]:
        known = [priority.name.lower() for priority in Priority]
        for tenant, name in value.items():
            if name.lower() not in known:
                raise ValueError(f"tenant {tenant!r} has priority {name!r}{nearest(name.lower(), known)}")
        return value

    def rules(self) -> ClassificationRules:
        """Return the rules for a classifier."""
        return ClassificationRules(
            block_bytes=self.block_bytes,
            output_cap_tokens=self.output_cap_tokens,
            tenant_ceilings={tenant: Priority[name.upper()] for tenant, name in self.tenant_ceilings.items()},
        )


def classify_message(
    classifier: RequestClassifier, message: request_pb2.InferenceRequest, pools: PoolChoice
) -> request_pb2.Classification:
    """Classify a request in the form in which it travels, and choose its pool.

    Raises:
        SageError: the request is at fault, or, as an InternalError, its endpoint is not known to this version or the
            classifier failed.
    """
    try:
        endpoint = _ENDPOINTS[message.endpoint]
    except ValueError:
        raise InternalError(f"endpoint {message.endpoint} is not known to this version") from None
    try:
        value = classifier.classify(
            endpoint, message.body, hints_from_wire(message.hints), tenant_from_wire(message.tenant), pools.catalog
        )
    except SageError:
        raise
    except Exception:
        log.exception("classification failed", **id_fields(message))
        raise InternalError("the request could not be classified") from None
    found = classification_to_wire(value)
    pools.assign(found)
    return found
