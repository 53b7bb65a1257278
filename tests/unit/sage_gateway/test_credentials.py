from __future__ import annotations

import pytest

from sage_common.errors import InvalidRequestError, PermissionDeniedError, UnauthenticatedError
from sage_gateway.credentials import Credentials

KEYED = Credentials({"sk-1": "acme"})


def test_without_keys_the_header_is_believed() -> None:
    assert Credentials({}).tenant({"x-sage-tenant": "acme"}) == "acme"
    assert Credentials({}).tenant({"authorization": "Bearer anything"}) == "default"


def test_with_keys_the_keys_tenant_counts() -> None:
    assert KEYED.tenant({"authorization": "Bearer sk-1"}) == "acme"
    assert KEYED.tenant({"authorization": "bearer sk-1", "x-sage-tenant": "acme"}) == "acme"


@pytest.mark.parametrize("value", ["Bearer sk-2", "Bearer", "Basic sk-1", "sk-1", "", "Bearer SK-1"])
def test_a_wrong_key_is_refused(value: str) -> None:
    with pytest.raises(UnauthenticatedError):
        KEYED.tenant({"authorization": value})


def test_a_missing_key_is_refused_and_the_message_says_how_to_send_one() -> None:
    with pytest.raises(UnauthenticatedError, match="Authorization: Bearer KEY"):
        KEYED.tenant({})


def test_a_key_does_not_open_another_tenant() -> None:
    with pytest.raises(PermissionDeniedError):
        KEYED.tenant({"authorization": "Bearer sk-1", "x-sage-tenant": "other"})


@pytest.mark.parametrize("tenant", ["", "a\tb", "é", "x" * 129])
def test_a_tenant_that_is_no_name_is_refused(tenant: str) -> None:
    with pytest.raises(InvalidRequestError):
        Credentials({}).tenant({"x-sage-tenant": tenant})


def test_only_operators_change_the_mesh_once_there_are_keys() -> None:
    keyed = Credentials({"sk-1": "acme", "sk-2": "ops"}, ["ops"])
    keyed.operator({"authorization": "Bearer sk-2"})
    with pytest.raises(PermissionDeniedError, match="'operators'"):
        keyed.operator({"authorization": "Bearer sk-1"})
    with pytest.raises(UnauthenticatedError):
        keyed.operator({})


def test_without_keys_everybody_operates() -> None:
    Credentials({}).operator({})
    assert Credentials({}).operates({"x-sage-tenant": "anyone"})
