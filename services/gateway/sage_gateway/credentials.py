"""The tenant behind an API key or a header."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sage_client import headers as names
from sage_common.errors import InvalidRequestError, PermissionDeniedError, UnauthenticatedError
from sage_mesh.inference_request import DEFAULT_TENANT


class Credentials:
    """Finds the tenant of a request.

    With keys configured a request needs one, and the key's tenant counts; a header may repeat it but not name
    another. Without keys the header is believed.

    Args:
        api_keys: tenant of each key.
        operators: tenants that may change the mesh; without keys everybody may.
    """

    def __init__(self, api_keys: Mapping[str, str], operators: Collection[str] = ()) -> None:
        self._tenants = dict(api_keys)
        self._operators = frozenset(operators)

    def tenant(self, headers: Mapping[str, str]) -> str:
        """Return the tenant; header names are lower case.

        Raises:
            UnauthenticatedError: no key, or one that is not known.
            PermissionDeniedError: the header names a tenant that is not the key's.
            InvalidRequestError: the header's value is no tenant name.
        """
        named = headers.get(names.TENANT)
        if named is not None and not (named.isascii() and named.isprintable() and 1 <= len(named) <= 128):
            raise InvalidRequestError(
                f"header {names.TENANT} must be 1 to {names.MAX_TENANT_CHARACTERS} printable ASCII characters",
                code="invalid_header",
                param=names.TENANT,
            )
        if not self._tenants:
            return named or DEFAULT_TENANT
        tenant = self._tenant_of_key(headers.get("authorization"))
        if named is not None and named != tenant:
            raise PermissionDeniedError(
                f"header {names.TENANT} names {named!r}, but the API key is another tenant's; leave the header out",
                param=names.TENANT,
            )
        return tenant

    def operates(self, headers: Mapping[str, str]) -> bool:
        """Return whether the caller may change the mesh. Raises as ``tenant`` does."""
        tenant = self.tenant(headers)
        return not self._tenants or tenant in self._operators

    def operator(self, headers: Mapping[str, str]) -> None:
        """Refuse a caller who may not change the mesh.

        Raises:
            PermissionDeniedError: the key's tenant is no operator.
        """
        if not self.operates(headers):
            raise PermissionDeniedError(
                "this API key's tenant may not do that; the gateway's setting 'operators' names the tenants that may",
                code="operators_only",
            )

    def _tenant_of_key(self, authorization: str | None) -> str:
        if authorization is None:
            raise UnauthenticatedError("an API key is needed; send it as 'Authorization: Bearer KEY'")
        scheme, _, key = authorization.partition(" ")
        tenant = self._tenants.get(key.strip()) if scheme.lower() == "bearer" else None
        if tenant is None:
            raise UnauthenticatedError("the API key is not known; check the Authorization header")
        return tenant
