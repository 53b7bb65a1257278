"""Orders about a policy: what may be set of it, what is kept of an order, and what another version left."""

from __future__ import annotations

import math

import pytest

from sage_common.errors import InvalidRequestError
from sage_control_plane.policies.hybrid_settings import HybridSettings
from sage_control_plane.policies.registry import PolicySettings, policy_names
from sage_scheduler.policy_orders import PolicyChoice, number_settings, read_order, settings_of

CONFIGURED = PolicySettings(hybrid=HybridSettings(margin=0.2, weights={"team": 3.0}))


def test_what_is_set_is_changed_and_all_else_is_as_configured() -> None:
    changed = settings_of(PolicyChoice("hybrid", {"lead_seconds": 2}), CONFIGURED)
    assert (changed.hybrid.lead_seconds, changed.hybrid.margin) == (2.0, 0.2)
    assert changed.priority == CONFIGURED.priority
    # Weights are those of the tenants, which change by themselves.
    assert changed.hybrid.weights is CONFIGURED.hybrid.weights


def test_an_order_without_settings_is_as_configured() -> None:
    assert settings_of(PolicyChoice("hybrid"), CONFIGURED) is CONFIGURED


@pytest.mark.parametrize(
    ("policy", "name", "value", "said"),
    [
        ("hybrid", "margn", 0.1, "has no setting 'margn' that is a number; did you mean 'margin'"),
        ("hybrid", "weights", 1.0, "has no setting 'weights' that is a number"),
        ("fifo", "margin", 0.1, "the policy 'fifo' has no setting 'margin'"),
        ("hybrid", "margin", 1.0, r"hybrid\.margin: Input should be less than 1 \(got 1\.0\)"),
        ("priority", "ageing_seconds", 0.0, r"priority\.ageing_seconds: Input should be greater than 0"),
        ("priority", "ageing_seconds", math.nan, r"priority\.ageing_seconds is nan; give a finite"),
        ("hybrid", "late_multiple", math.nan, r"hybrid\.late_multiple is nan"),
        ("hybrid", "margin", math.nan, r"hybrid\.margin is nan"),
        ("hybrid", "starvation_seconds", math.inf, r"hybrid\.starvation_seconds is inf"),
    ],
)
def test_a_setting_that_is_none_or_out_of_range_is_refused_by_name(
    policy: str, name: str, value: float, said: str
) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        settings_of(PolicyChoice(policy, {name: value}), CONFIGURED)


def test_the_numbers_of_a_policy_are_listed_with_their_meaning_and_what_was_configured() -> None:
    listed = {one.name: one for one in number_settings(PolicyChoice("hybrid", {"margin": 0.1}), CONFIGURED)}
    assert (listed["margin"].value, listed["margin"].configured) == (0.1, 0.2)
    assert listed["margin"].meaning.startswith("share of a target")
    assert "weights" not in listed
    assert list(number_settings(PolicyChoice("fifo"), CONFIGURED)) == []


def test_settings_that_another_version_left_are_listed_as_configured() -> None:
    left = PolicyChoice("hybrid", {"margin": math.nan})
    assert {one.name: one.value for one in number_settings(left, CONFIGURED)}["margin"] == 0.2


@pytest.mark.parametrize("policy", policy_names())
def test_every_number_of_every_policy_has_a_meaning(policy: str) -> None:
    assert [one.name for one in number_settings(PolicyChoice(policy), PolicySettings()) if not one.meaning] == []


def test_an_order_reads_back_and_one_without_settings_is_the_name_that_older_versions_read() -> None:
    for order in (PolicyChoice("fifo"), PolicyChoice("hybrid", {"margin": 0.1, "lead_seconds": 2.0})):
        assert read_order(order.stored()) == order
    assert PolicyChoice("fifo").stored() == "fifo"


@pytest.mark.parametrize(
    "text",
    ["nobody", '{"policy": "nobody", "settings": {}}', "{", '{"policy": "fifo"}', '{"policy": "fifo", "settings": 1}'],
)
def test_what_another_version_left_is_no_order(text: str) -> None:
    with pytest.raises(ValueError, match="is no order about a policy"):
        read_order(text)
