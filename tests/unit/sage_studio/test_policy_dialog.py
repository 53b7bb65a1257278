"""What the dialog about a policy orders."""

from __future__ import annotations

from sage_client.management.views import PolicySettingView
from sage_studio.pages.policy_dialog import changed_settings

SETTINGS = (PolicySettingView("margin", 0.1, 0.05, "kept"), PolicySettingView("lead_seconds", 0.5, 0.5, "ahead"))


def test_only_what_differs_from_the_configuration_is_ordered() -> None:
    assert changed_settings(SETTINGS, {"margin": 0.1, "lead_seconds": 0.5}) == {"margin": 0.1}
    assert changed_settings(SETTINGS, {"margin": 0.05, "lead_seconds": 2.0}) == {"lead_seconds": 2.0}


def test_an_emptied_field_is_as_configured_and_zero_is_a_value() -> None:
    assert changed_settings(SETTINGS, {"margin": None, "lead_seconds": 0.0}) == {"lead_seconds": 0.0}
