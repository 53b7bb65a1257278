"""Who calls: the tenant and the rights behind an API key, or the mesh's own token."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from sage_common.errors import PermissionDeniedError, UnauthenticatedError, UnavailableError
from sage_common.issued_keys import IssuedKey, key_digest

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
        key_id: of the key, where the mesh has issued it; empty otherwise.
    """

    tenant: str | None
    operator: bool
    key_id: str = ""

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
    """The keys that are known: those of the settings, and those that the mesh has issued, which come and go. Only their
    digests are kept, and looked up, so neither a dump nor the time a look-up takes says anything of a key.

    Args:
        keys: what each key of the settings stands for: a tenant's name, or a :class:`KeyHolder`.
        operators: tenants all of whose keys are operators'.
        mesh_token: what the services of the mesh, and its owner's command line, call each other with; empty for none.
        always_required: whether callers need a key even while there is none.
        now: seconds since 1970-01-01 UTC, by which issued keys expire.
    """

    def __init__(
        self,
        keys: Mapping[str, str | KeyHolder],
        operators: Collection[str] = (),
        mesh_token: str = "",
        *,
        always_required: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._callers: dict[str, Caller] = {}
        self._operators = frozenset(operators)
        self._now = now
        for key, given in keys.items():
            holder = KeyHolder(tenant=given) if isinstance(given, str) else given
            operator = holder.operator or holder.tenant in self._operators
            self._callers[key_digest(key)] = Caller(holder.tenant, operator)
        self._always_required = always_required or bool(self._callers)
        if mesh_token:
            self._callers[key_digest(mesh_token)] = ANYBODY
        self._issued: dict[str, IssuedKey] = {}
        self._awaits_issued = False

    @property
    def required(self) -> bool:
        """Whether a caller needs a key. Once one was issued that stays so, though it is revoked or has expired."""
        return self._always_required or self._awaits_issued or bool(self._issued)

    def await_issued(self) -> None:
        """Take no caller for anybody until ``set_issued`` was called, since there may be keys."""
        self._awaits_issued = True

    def set_issued(self, keys: Iterable[IssuedKey]) -> None:
        """Replace the issued keys; those that are not valid any more stay among them."""
        self._issued = {key.digest: key for key in keys}
        self._awaits_issued = False

    def caller(self, authorization: str | None) -> Caller:
        """Return who sent this value of ``Authorization``.

        Raises:
            UnauthenticatedError: keys are needed, and it holds none that is valid.
            UnavailableError: the issued keys could not be read yet.
        """
        if not self.required:
            return ANYBODY
        if authorization is None:
            self._refuse_unread()
            raise UnauthenticatedError("an API key is needed; send it as 'Authorization: Bearer KEY'")
        scheme, _, key = authorization.partition(" ")
        caller = self._holder(key_digest(key.strip())) if scheme.lower() == "bearer" else None
        if caller is None:
            self._refuse_unread()
            raise UnauthenticatedError("the API key is not known; check the Authorization header")
        return caller

    def _holder(self, digest: str) -> Caller | None:
        caller = self._callers.get(digest)
        if caller is not None:
            return caller
        issued = self._issued.get(digest)
        if issued is None:
            return None
        if reason := issued.invalid_because(self._now()):
            raise UnauthenticatedError(f"the API key {reason}; ask an operator for another")
        return Caller(issued.tenant, issued.operator or issued.tenant in self._operators, issued.key_id)

    def _refuse_unread(self) -> None:
        if self._awaits_issued:
            raise UnavailableError(
                "the API keys of the mesh could not be read from NATS yet; try again, and look at the NATS server",
                code="keys_unread",
                retryable=True,
            )


def refuse_if_no_operator(caller: Caller) -> None:
    """Raise PermissionDeniedError for a caller who may not give orders."""
    if not caller.operator:
        raise PermissionDeniedError(
            "this API key's tenant may not do that; it is for operators: `sage key create --operator` makes a key for "
            "one, the setting 'operators' lists tenants, and "
            '{"KEY": {"tenant": "NAME", "operator": true}} in api_keys makes a key an operator\'s',
            code="operators_only",
        )
