"""A new scheduling policy."""

from __future__ import annotations

from pathlib import Path

from sage_tools.layers import packages_beside
from sage_tools.scaffold.addition import Addition
from sage_tools.scaffold.names import check_unused, checked_name, words_of
from sage_tools.scaffold.text_edits import after, line_in_order

HOME = "libs/python/sage_control_plane/policies"
# Of a registry that would not load: two settings may not share a name, for one.
CHECK = """
from sage_common.setting_table import setting_table
from sage_control_plane.policies.registry import check_policy
from sage_scheduler.config import SchedulerSettings
import sys

check_policy(sys.argv[1])
assert f"{sys.argv[1]}.seconds_per_token" in setting_table(SchedulerSettings).names
"""


def policy(root: Path, given: str) -> Addition:
    """Return what a policy of this name adds. Raises InvalidRequestError, ConflictError."""
    name = checked_name(given, "policy")
    words = words_of(name)
    check_unused(
        packages_beside(root, "sage_control_plane"),
        name,
        (f"{words['Name']}SchedulingPolicy", f"{words['Name']}Settings"),
    )
    import_line = f"from sage_control_plane.policies.{name} import {words['NAME']}"
    return Addition(
        files={
            f"{HOME}/{name}.py": "policy.py.tmpl",
            f"tests/unit/sage_control_plane/policies/test_{name}.py": "test_policy.py.tmpl",
        },
        words=words,
        edits={
            f"{HOME}/registry.py": [line_in_order(r"from sage_control_plane\.policies\.\w+ import ", import_line)],
            # The bound of the contract suite, whose requests have 10 to 1000 tokens.
            "tests/contracts/test_policies.py": [
                after("OVERTAKEN_WITHIN_SECONDS = {\n", f'    # 990 tokens at 0.01 s.\n    "{name}": 9.9,\n')
            ],
            # A policy's settings are read with the marks of their types, of which mypyc keeps none.
            "libs/python/sage_tools/compiled.py": [
                line_in_order(
                    r'    "policies/(admission|hybrid_settings|priority)\.py"', f'    "policies/{name}.py": "settings",'
                )
            ],
        },
        commands=[["-c", CHECK, name]],
        next_steps=(
            f"write the order into key() of {HOME}/{name}.py; policies/policy.py has the whole interface",
            "state its bound in OVERTAKEN_WITHIN_SECONDS of tests/contracts/test_policies.py",
            f"pytest tests/contracts/test_policies.py tests/unit/sage_control_plane/policies/test_{name}.py",
            f"sage policy set {name}, on a mesh that was started since; sage bench simulate compares it",
        ),
    )
