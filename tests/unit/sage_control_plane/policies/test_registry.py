"""Policies by name."""

from __future__ import annotations

import pytest

from sage_common.errors import InvalidRequestError
from sage_control_plane.policies.registry import PolicySettings, make_policy, policy_names


def test_every_name_makes_a_policy_of_that_name() -> None:
    assert [make_policy(name, PolicySettings()).name for name in policy_names()] == policy_names()


def test_an_unknown_name_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        make_policy("fifi", PolicySettings())
    assert "did you mean 'fifo'?" in caught.value.message
    assert all(name in caught.value.message for name in policy_names())
    assert caught.value.code == "unknown_policy"
