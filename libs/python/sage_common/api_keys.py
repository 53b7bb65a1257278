"""Who calls: the tenant and the rights behind an API key, or the mesh's own token."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from sage_common.errors import PermissionDeniedError, UnauthenticatedError

MAX_TENANT_CHARACTERS = 128


class KeyHolder(BaseModel):
    """What an API key stands for, where a tenant's name alone does not say it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str = Field(min_length=1, max_length=MAX_TENANT_CHARACTERS)
    operator: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        tenant: whose API key it is; None for the mesh itself, and for everybody where no keys are set.
        operator: may give orders, see every tenant's decisions and jobs, and work for another tenant.
    """

    tenant: str | None
    operator: bool

    def acts_for(self, named: str | None) -> str | None:
        """Return the tenant that work is for: the one named, or the caller's own where none is.

        Raises:
            PermissionDeniedError: another tenant is named, and the caller is no operator.
        """
        if not named or named == self.tenant:
            return named or self.tenant
        if not self.operator:
            raise PermissionDeniedError(
                f"the request names the tenant {named[:MAX_TENANT_CHARACTERS]!r}, but the API key is another tenant's; "
                "leave the tenant out, or use an operator's key",
                code="other_tenant",
                param="tenant",
            )
        return named

    def may_see(self, tenant: str) -> bool:
        """Whether the work of ``tenant`` is the caller's to see."""
        return self.operator or tenant == self.tenant


# Where no keys are set.
ANYBODY = Caller(None, True)


class ApiKeys:
    """The keys that are known. Only their digests are kept, and looked up, so neither a dump nor the time a look-up
    takes says anything of a key.

    Args:
        keys: what each key stands for: a tenant's name, or a :class:`KeyHolder`.
        operators: tenants all of whose keys are operators'.
        mesh_token: what the services of the mesh, and its owner's command line, call each other with; empty for none.
    """

    def __init__(
        self, keys: Mapping[str, str | KeyHolder], operators: Collection[str] = (), mesh_token: str = ""
    ) -> None:
        self._callers: dict[bytes, Caller] = {}
        for key, given in keys.items():
            holder = KeyHolder(tenant=given) if isinstance(given, str) else given
            operator = holder.operator or holder.tenant in operators
            self._callers[_digest(key)] = Caller(holder.tenant, operator)
        self.required = bool(self._callers)
        if mesh_token:
            self._callers[_digest(mesh_token)] = ANYBODY

    def caller(self, authorization: str | None) -> Caller:
        """Return who sent this value of ``Authorization``.

        Raises:
            UnauthenticatedError: keys are set, and it holds none that is known.
        """
        if not self.required:
            return ANYBODY
        if authorization is None:
            raise UnauthenticatedError("an API key is needed; send it as 'Authorization: Bearer KEY'")
        scheme, _, key = authorization.partition(" ")
        caller = self._callers.get(_digest(key.strip())) if scheme.lower() == "bearer" else None
        if caller is None:
            raise UnauthenticatedError("the API key is not known; check the Authorization header")
        return caller


def refuse_if_no_operator(caller: Caller) -> None:
    """Raise PermissionDeniedError for a caller who may not give orders."""
    if not caller.operator:
        raise PermissionDeniedError(
            "this API key's tenant may not do that; it is for operators, whom the settings name: 'operators' lists "
            'tenants, and {"KEY": {"tenant": "NAME", "operator": true}} in api_keys makes a key an operator\'s',
            code="operators_only",
        )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
