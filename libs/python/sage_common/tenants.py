"""Tenants: what each may have of the mesh."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sage_common.api_keys import MAX_TENANT_CHARACTERS
from sage_common.errors import InvalidRequestError
from sage_common.prices import NANOS
from sage_common.quota.meter import Meter, Period, Unit

# What orjson and NATS hold of a number, with room for sums.
MOST = 2**53
Count = Annotated[int, Field(ge=0, le=MOST)]
Money = Annotated[Decimal, Field(ge=0, le=1_000_000_000, decimal_places=9)]


class Tenant(BaseModel):
    """What a tenant may have. What is None is not limited.

    Attributes:
        name: of the tenant.
        class_ceiling: most urgent class that its requests may be in; those above it are lowered to it.
        weight: its share where the mesh is full; others have 1, or what the scheduler's settings say.
        requests_per_minute, tokens_per_minute: how fast it may ask; both drain little by little.
        max_concurrent: requests at the same time.
        models: names of models that it may use, with ``*`` and ``?``; none for all.
        daily_tokens, monthly_tokens: budgets of tokens, prompts included; a day and a month are UTC's.
        daily_money, monthly_money: budgets in the currency of the table of prices.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=MAX_TENANT_CHARACTERS, pattern=r"^[ -~]+$")
    class_ceiling: Literal["interactive", "default", "bulk"] | None = None
    weight: Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)] | None = None
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    max_concurrent: Count | None = None
    models: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field((), max_length=256)
    daily_tokens: Count | None = None
    monthly_tokens: Count | None = None
    daily_money: Money | None = None
    monthly_money: Money | None = None

    @cached_property
    def meters(self) -> tuple[Meter, ...]:
        """The limits to keep: rates and seats first, then budgets."""
        limits = (
            (Unit.CONCURRENCY, Period.HELD, self.max_concurrent),
            (Unit.REQUESTS, Period.MINUTE, self.requests_per_minute),
            (Unit.TOKENS, Period.MINUTE, self.tokens_per_minute),
            (Unit.TOKENS, Period.DAY, self.daily_tokens),
            (Unit.TOKENS, Period.MONTH, self.monthly_tokens),
            (Unit.MONEY, Period.DAY, _nanos(self.daily_money)),
            (Unit.MONEY, Period.MONTH, _nanos(self.monthly_money)),
        )
        return tuple(Meter(unit, period, limit) for unit, period, limit in limits if limit is not None)

    def may_use(self, model: str) -> bool:
        """Whether a model is one of the tenant's."""
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)


M = TypeVar("M", bound=BaseModel)


def checked(kind: type[M], values: Mapping[str, Any]) -> M:
    """Return what operators set: a tenant, a price, a model route. Raises InvalidRequestError, with the field."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if not where:
            raise InvalidRequestError(first["msg"].removeprefix("Value error, ")) from None
        shown = str(first["input"])[:80]
        raise InvalidRequestError(f"{where}: {first['msg']}; got {shown!r}", param=where) from None


def _nanos(money: Decimal | None) -> int | None:
    return None if money is None else int(money * NANOS)
