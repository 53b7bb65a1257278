"""API keys of a mesh: made, listed, rotated and revoked, at any of its gateways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from grpc.aio import Channel

from sage.gateway.v1 import keys_pb2 as pb
from sage.gateway.v1 import keys_pb2_grpc
from sage_client.management.service_calls import ListInstances, ServiceCalls
from sage_client.wait_notice import OnWait

GATEWAY = "gateway"
CALL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class KeyView:
    """What the mesh keeps of a key. Times are in milliseconds since 1970-01-01 UTC, None for none.

    Attributes:
        id: name of the key, which is a part of it and no secret.
        label: what its maker calls it; may be empty.
        expires_unix_ms: from when on it is not valid; None for never.
    """

    id: str
    tenant: str
    operator: bool
    label: str
    created_unix_ms: int
    expires_unix_ms: int | None
    revoked_unix_ms: int | None

    def state(self, now_unix_ms: float) -> str:
        """Return ``valid``, ``expired`` or ``revoked``."""
        if self.revoked_unix_ms is not None:
            return "revoked"
        return "expired" if self.expires_unix_ms is not None and now_unix_ms >= self.expires_unix_ms else "valid"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; ``secret`` is the key itself, which nobody can ask for again."""

    key: KeyView
    secret: str


class KeyManagement:
    """Makes and revokes keys. Every method raises UnavailableError when no gateway answers, and PermissionDeniedError
    for a caller who is no operator.

    Args:
        token: API key or mesh token that the gateways are called with; empty for none.
        on_wait: called with which gateway a call waits for, when that takes longer than two seconds.
    """

    def __init__(self, list_instances: ListInstances, token: str = "", on_wait: OnWait | None = None) -> None:
        self._calls = ServiceCalls(list_instances, token, on_wait)

    async def create(
        self, tenant: str, *, operator: bool = False, label: str = "", lifetime_seconds: int = 0
    ) -> NewKey:
        """Make a key of a tenant.

        Args:
            lifetime_seconds: after which it is not valid any more; 0 for no end.

        Raises:
            InvalidRequestError: the tenant or the label is no name.
            UnprocessableError: the mesh's services have no token to call each other with.
        """
        request = pb.CreateKeyRequest(tenant=tenant, operator=operator, label=label, lifetime_seconds=lifetime_seconds)
        answer: pb.CreateKeyResponse = await self._calls.any(
            GATEWAY, lambda c: _gateway(c).CreateKey(request, timeout=CALL_SECONDS)
        )
        return NewKey(_view(answer.key), answer.secret)

    async def list_keys(self) -> list[KeyView]:
        """Return every key, the oldest first."""
        answer: pb.ListKeysResponse = await self._calls.any(
            GATEWAY, lambda c: _gateway(c).ListKeys(pb.ListKeysRequest(), timeout=CALL_SECONDS)
        )
        return [_view(key) for key in answer.keys]

    async def rotate(self, key_id: str, *, grace_seconds: int = 0) -> NewKey:
        """Make another key for the holder of a key, which stays valid for ``grace_seconds``.

        Raises:
            NotFoundError: no key has this id.
            ConflictError: it is not valid any more.
        """
        request = pb.RotateKeyRequest(id=key_id, grace_seconds=grace_seconds)
        answer: pb.RotateKeyResponse = await self._calls.any(
            GATEWAY, lambda c: _gateway(c).RotateKey(request, timeout=CALL_SECONDS)
        )
        return NewKey(_view(answer.key), answer.secret)

    async def revoke(self, key_id: str, *, forget: bool = False) -> KeyView:
        """End a key at once, and what its holder's requests are getting. Raises NotFoundError.

        Args:
            forget: also remove what is kept of it. While anything of any key is kept, every caller needs one.
        """
        request = pb.RevokeKeyRequest(id=key_id, forget=forget)
        answer: pb.RevokeKeyResponse = await self._calls.any(
            GATEWAY, lambda c: _gateway(c).RevokeKey(request, timeout=CALL_SECONDS)
        )
        return _view(answer.key)


def _gateway(channel: Channel) -> Any:
    return keys_pb2_grpc.KeyServiceStub(channel)  # type: ignore[no-untyped-call]


def _view(key: pb.ApiKey) -> KeyView:
    return KeyView(
        key.id,
        key.tenant,
        key.operator,
        key.label,
        key.created_unix_ms,
        key.expires_unix_ms or None,
        key.revoked_unix_ms or None,
    )
