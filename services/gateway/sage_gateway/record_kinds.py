"""The kinds of records that operators keep over REST, each with the operations that all of them have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, create_model

from sage_client.management.tenants import TenantState
from sage_common.model_routes import ModelRoute
from sage_common.prices import Price
from sage_common.tenants import Tenant
from sage_gateway.openapi.answers import Listed
from sage_gateway.openapi.operation import Access, Operation

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class RecordKind(Generic[R]):
    """Records of one kind; names may have slashes.

    Attributes:
        path: below which they are.
        kind: what is kept of each.
        order: the body that sets one; the path names it, so the body need not.
        noun: what to call one in messages.
        key: the field that the path gives in place of the body.
        shown: what is told of one that is asked for.
    """

    path: str
    kind: type[R]
    order: type[R]
    noun: str
    key: str
    shown: type[BaseModel]

    @property
    def list(self) -> Operation:
        return Operation(
            "GET",
            self.path,
            f"List {self.noun}s",
            answer=Listed[self.kind],  # type: ignore[name-defined]
            access=Access.OPERATOR,
        )

    @property
    def show(self) -> Operation:
        return Operation("GET", self._one, f"Get a {self.noun}", answer=self.shown, access=Access.OPERATOR)

    @property
    def set(self) -> Operation:
        return Operation(
            "PUT", self._one, f"Set a {self.noun}", body=self.order, answer=self.kind, access=Access.OPERATOR
        )

    @property
    def remove(self) -> Operation:
        return Operation("DELETE", self._one, f"Remove a {self.noun}", answer=self.kind, access=Access.OPERATOR)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """All of them."""
        return self.list, self.show, self.set, self.remove

    @property
    def _one(self) -> str:
        return f"{self.path}/{{name:path}}"


def _record_kind(
    path: str, kind: type[R], noun: str, key: str = "name", shown: type[BaseModel] | None = None
) -> RecordKind[R]:
    named: dict[str, Any] = {key: (str, "")}
    order: type[R] = create_model(f"{kind.__name__}Order", __base__=kind, **named)
    return RecordKind(path, kind, order, noun, key, shown or kind)


TENANTS: Final = _record_kind("/v1/management/tenants", Tenant, "tenant", shown=TenantState)
PRICES: Final = _record_kind("/v1/management/prices", Price, "price", "model")
MODEL_ROUTES: Final = _record_kind("/v1/management/models", ModelRoute, "model route")
RECORD_KINDS: Final = (TENANTS, PRICES, MODEL_ROUTES)
