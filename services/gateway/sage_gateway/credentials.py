"""The tenant behind an API key or a header."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sage_client import headers as names
from sage_common.api_keys import MAX_TENANT_CHARACTERS, ApiKeys, KeyHolder, refuse_if_no_operator
from sage_common.errors import InvalidRequestError
from sage_common.labels import is_label
from sage_mesh.inference_request import DEFAULT_TENANT

AUTHORIZATION = "authorization"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request is from.

    Attributes:
        tenant: whom it is for.
        key_id: of the key that it came with, where the mesh has issued it; empty otherwise.
    """

    tenant: str
    key_id: str


class Credentials:
    """Finds the tenant of a request.

    With keys configured a request needs one, and the key's tenant counts; a header may repeat it, and with an
    operator's key name another. Without keys the header is believed.

    Args:
        api_keys: what each key stands for, or the keys as they are known.
        operators: tenants that may change the mesh; without keys everybody may.
    """

    def __init__(self, api_keys: Mapping[str, str | KeyHolder] | ApiKeys, operators: Collection[str] = ()) -> None:
        self._keys = api_keys if isinstance(api_keys, ApiKeys) else ApiKeys(api_keys, operators)

    @property
    def required(self) -> bool:
        """Whether a request needs a key."""
        return self._keys.required

    def tenant(self, headers: Mapping[str, str]) -> str:
        """Return the tenant. Raises as ``principal``."""
        return self.principal(headers).tenant

    def principal(self, headers: Mapping[str, str]) -> Principal:
        """Return whom a request is from; header names are lower case.

        Raises:
            UnauthenticatedError: no key, or one that is not known.
            PermissionDeniedError: the header names a tenant that is not the key's.
            InvalidRequestError: the header's value is no tenant name.
        """
        named = headers.get(names.TENANT)
        if named is not None and not is_label(named, MAX_TENANT_CHARACTERS):
            raise InvalidRequestError(
                f"header {names.TENANT} must be 1 to {MAX_TENANT_CHARACTERS} printable ASCII characters",
                code="invalid_header",
                param=names.TENANT,
            )
        caller = self._keys.caller(headers.get(AUTHORIZATION))
        return Principal(caller.acts_for(named) or DEFAULT_TENANT, caller.key_id)

    def forwarded(self, headers: Mapping[str, str]) -> tuple[str | None, str]:
        """Return the key to call a service with for the caller, and for whom the call counts.

        A service knows API keys itself. Tokens of an issuer it does not: for their bearers, as where nobody needs a
        key, it is called as the mesh (None), on behalf of the tenant of one who is no operator.

        Raises:
            As ``principal``.
        """
        self.principal(headers)
        if not self._keys.required:
            return None, ""
        caller = self._keys.caller(headers.get(AUTHORIZATION))
        if caller.from_issuer:
            return None, "" if caller.operator else str(caller.tenant)
        return headers[AUTHORIZATION].partition(" ")[2].strip(), ""

    def operates(self, headers: Mapping[str, str]) -> bool:
        """Return whether the caller may change the mesh. Raises UnauthenticatedError."""
        return self._keys.caller(headers.get(AUTHORIZATION)).operator

    def operator(self, headers: Mapping[str, str]) -> None:
        """Refuse a caller who may not change the mesh.

        Raises:
            UnauthenticatedError: no key, or one that is not known.
            PermissionDeniedError: the key is no operator's.
        """
        refuse_if_no_operator(self._keys.caller(headers.get(AUTHORIZATION)))
