"""Who calls: the tenant and the rights behind an API key, or the mesh's own token."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from sage_common.errors import PermissionDeniedError, UnauthenticatedError, UnavailableError
from sage_common.issued_keys import IssuedKey, key_digest

MAX_TENANT_CHARACTERS = 128
# What ``Caller.key_id`` begins with for the bearers of an issuer's tokens, as the id of no key does.
SUBJECT_PREFIX = "oidc-"


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
        key_id: of the key, where the mesh has issued it, or of the subject of an issuer's token; empty otherwise.
        from_issuer: whether it came with an issuer's token.
    """

    tenant: str | None
    operator: bool
    key_id: str = ""
    from_issuer: bool = False

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


class TokenHolders(Protocol):
    """Who else than the holders of keys may call: the bearers of an issuer's tokens."""

    def may_be_one(self, credential: str) -> bool:
        """Whether a credential has the form of a token."""

    async def prepare(self, credential: str) -> None:
        """Have at hand what ``caller`` needs."""

    def caller(self, token: str) -> Caller:
        """Return whose token it is. Raises UnauthenticatedError, PermissionDeniedError, UnavailableError."""

    def ended_because(self, subject: str) -> UnauthenticatedError | None:
        """Return why no token of a subject is valid any more; None while one is."""


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
        self._issued_by_id: dict[str, IssuedKey] = {}
        self._awaits_issued = False
        self._tokens: TokenHolders | None = None

    @property
    def required(self) -> bool:
        """Whether a caller needs a key. Once one was issued that stays so, though it is revoked or has expired."""
        return self._always_required or self._awaits_issued or bool(self._issued) or self._tokens is not None

    def take_tokens(self, tokens: TokenHolders) -> None:
        """Let bearers of tokens in, too."""
        self._tokens = tokens

    async def prepare(self, authorization: str | None) -> None:
        """Have at hand what ``caller`` needs for this value, where that may have to be asked for."""
        if self._tokens is not None and authorization is not None:
            await self._tokens.prepare(_credential(authorization))

    def await_issued(self) -> None:
        """Take no caller for anybody until ``set_issued`` was called, since there may be keys."""
        self._awaits_issued = True

    def set_issued(self, keys: Iterable[IssuedKey]) -> None:
        """Replace the issued keys; those that are not valid any more stay among them."""
        self._issued = {key.digest: key for key in keys}
        self._issued_by_id = {key.key_id: key for key in self._issued.values()}
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
        key = key.strip()
        caller = self._holder(key_digest(key)) if scheme.lower() == "bearer" else None
        if caller is None and self._tokens is not None and self._tokens.may_be_one(key):
            return self._tokens.caller(key)
        if caller is None:
            self._refuse_unread()
            raise UnauthenticatedError("the API key is not known; check the Authorization header")
        return caller

    def ended_because(self, key_id: str) -> UnauthenticatedError | None:
        """Return why who was let in by an issued key, or as a subject, would be no more; None while it would be."""
        if key_id.startswith(SUBJECT_PREFIX):
            return None if self._tokens is None else self._tokens.ended_because(key_id)
        if self._awaits_issued:
            return None
        issued = self._issued_by_id.get(key_id)
        # A key that is not kept any more was revoked before it was removed.
        reason = "was revoked" if issued is None else issued.invalid_because(self._now())
        if not reason:
            return None
        code = "key_revoked" if issued is None or issued.revoked_at else "key_expired"
        return UnauthenticatedError(f"the API key {reason} while its answer was written", code=code)

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


def _credential(authorization: str) -> str:
    """Return what a value of ``Authorization``, or of a header that holds a key alone, shows."""
    scheme, separator, credential = authorization.partition(" ")
    return credential.strip() if separator else scheme


def refuse_if_no_operator(caller: Caller) -> None:
    """Raise PermissionDeniedError for a caller who may not give orders."""
    if not caller.operator:
        raise PermissionDeniedError(
            "this API key's tenant may not do that; it is for operators: `sage key create --operator` makes a key for "
            "one, the setting 'operators' lists tenants, and "
            '{"KEY": {"tenant": "NAME", "operator": true}} in api_keys makes a key an operator\'s',
            code="operators_only",
        )
