"""A new kind of engine, whose server SAGE starts."""

from __future__ import annotations

from pathlib import Path

from sage_tools.layers import packages_beside
from sage_tools.scaffold.addition import Addition
from sage_tools.scaffold.names import check_unused, checked_name, words_of
from sage_tools.scaffold.text_edits import line_in_order

HOME = "services/llm-coordinator/sage_llm_coordinator/engines"
CHECK = """
import sys
from sage_common.setting_table import setting_table
from sage_llm_coordinator.config import LlmCoordinatorSettings
from sage_llm_coordinator.engines.registry import KINDS

assert sys.argv[1] in KINDS
assert f"{sys.argv[1]}.program" in setting_table(LlmCoordinatorSettings).names
"""


def engine(root: Path, given: str) -> Addition:
    """Return what a kind of engine of this name adds. Raises InvalidRequestError, ConflictError."""
    name = checked_name(given, "engine")
    words = words_of(name)
    classes = tuple(f"{words['Name']}{role}" for role in ("Settings", "EngineSettings", "Program"))
    check_unused(packages_beside(root, "sage_llm_coordinator"), f"{name}_engine", classes)
    import_line = f"from sage_llm_coordinator.engines.{name}_engine import {words['NAME']}"
    return Addition(
        files={
            f"{HOME}/{name}_engine.py": "engine.py.tmpl",
            f"tests/unit/sage_llm_coordinator/test_{name}_engine.py": "test_engine.py.tmpl",
        },
        words=words,
        edits={
            f"{HOME}/registry.py": [
                line_in_order(r"from sage_llm_coordinator\.engines\.\w+_engine import ", import_line)
            ]
        },
        commands=[["-c", CHECK, name]],
        next_steps=(
            f"write the command line of its server into {HOME}/{name}_engine.py, and what its log says of a start that "
            "is hopeless; vllm_engine.py and llamacpp_engine.py have more: devices, memory, seats",
            f"pytest tests/unit/sage_llm_coordinator/test_{name}_engine.py",
            f'an engine of it: SAGE_LLM_COORDINATOR_ENGINES=\'[{{"kind": "{name}", "model": "MODEL"}}]\' sage up',
            "a row of the table in services/llm-coordinator/README.md; names that reports of its server go by: "
            "engines/known_servers.py",
        ),
    )
