"""gRPC ↔ domain: API keys made, listed, rotated and revoked."""

from __future__ import annotations

from typing import Any

from grpc import aio

from sage.gateway.v1 import keys_pb2 as pb
from sage.gateway.v1 import keys_pb2_grpc
from sage_common.api_keys import MAX_TENANT_CHARACTERS
from sage_common.errors import InvalidRequestError, UnprocessableError
from sage_common.issued_keys import IssuedKey
from sage_common.labels import check_label, is_label
from sage_gateway.stored_records import stored
from sage_platform.grpc_access import for_operators
from sage_platform.issued_key_store import IssuedKeyStore

Context = aio.ServicerContext[Any, Any]
MAX_SECONDS = 100 * 365 * 86_400


class KeyServicer(keys_pb2_grpc.KeyServiceServicer):
    """The calls of operators about keys.

    Args:
        has_mesh_token: whether this mesh's services have what they call each other with once callers need keys.
    """

    def __init__(self, store: IssuedKeyStore, *, has_mesh_token: bool) -> None:
        self._store = store
        self._has_mesh_token = has_mesh_token

    @for_operators
    async def CreateKey(  # noqa: N802 - the name in the contract
        self, request: pb.CreateKeyRequest, context: Context
    ) -> pb.CreateKeyResponse:
        if not self._has_mesh_token:
            raise UnprocessableError(
                "the services of this mesh have no token to call each other with, so they would refuse each other once "
                "there is an API key; set SAGE_ACCESS_MESH_TOKEN_FILE for all of them (`sage up` does), and start them "
                "again",
                code="no_mesh_token",
            )
        if not is_label(request.tenant, MAX_TENANT_CHARACTERS):
            raise InvalidRequestError(
                f"'tenant' must be 1 to {MAX_TENANT_CHARACTERS} printable ASCII characters; "
                f"got {request.tenant[:40]!r}",
                param="tenant",
            )
        label = check_label(request.label, "label")
        lifetime = _checked_seconds(request.lifetime_seconds, "lifetime_seconds")
        key, secret = await stored(
            self._store.create(request.tenant, operator=request.operator, label=label, lifetime_seconds=lifetime)
        )
        return pb.CreateKeyResponse(key=key_to_wire(key), secret=secret)

    @for_operators
    async def ListKeys(self, request: pb.ListKeysRequest, context: Context) -> pb.ListKeysResponse:  # noqa: N802
        keys = await stored(self._store.list_keys())
        return pb.ListKeysResponse(keys=[key_to_wire(key) for key in keys])

    @for_operators
    async def RotateKey(self, request: pb.RotateKeyRequest, context: Context) -> pb.RotateKeyResponse:  # noqa: N802
        grace = _checked_seconds(request.grace_seconds, "grace_seconds")
        key, secret = await stored(self._store.rotate(request.id, grace))
        return pb.RotateKeyResponse(key=key_to_wire(key), secret=secret)

    @for_operators
    async def RevokeKey(self, request: pb.RevokeKeyRequest, context: Context) -> pb.RevokeKeyResponse:  # noqa: N802
        key = await stored(self._store.revoke(request.id, forget=request.forget))
        return pb.RevokeKeyResponse(key=key_to_wire(key))


def key_to_wire(key: IssuedKey) -> pb.ApiKey:
    """Return what callers see of a key."""
    return pb.ApiKey(
        id=key.key_id,
        tenant=key.tenant,
        operator=key.operator,
        label=key.label,
        created_unix_ms=round(key.created_at * 1000),
        expires_unix_ms=round(key.expires_at * 1000),
        revoked_unix_ms=round(key.revoked_at * 1000),
    )


def _checked_seconds(seconds: int, param: str) -> float:
    if seconds > MAX_SECONDS:
        raise InvalidRequestError(f"{param!r} is {seconds}; the most is {MAX_SECONDS}, 100 years", param=param)
    return float(seconds)
