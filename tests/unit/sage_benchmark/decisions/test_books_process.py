"""Measuring the sources where extensions lie beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from sage_benchmark.decisions.books_process import SourcesOnly


def test_sources_are_found_beside_extensions_and_others_are_left_alone(tmp_path: Path) -> None:
    package = tmp_path / "sage_control_plane"
    package.mkdir()
    for name in ("__init__.py", "manager.py", f"manager{EXTENSION_SUFFIXES[0]}"):
        (package / name).touch()
    finder = SourcesOnly()
    spec = finder.find_spec("sage_control_plane.manager", [str(package)])
    assert spec is not None
    assert spec.origin == str(package / "manager.py")
    assert finder.find_spec("sage_control_plane.none", [str(package)]) is None
    assert finder.find_spec("sage_control_planes", [str(tmp_path)]) is None


def test_the_process_says_what_it_measured() -> None:
    command = [sys.executable, "-m", "sage_benchmark.decisions.books_process", "hybrid", "--interpreted"]
    command += ["--engines", "2", "--queued", "20", "--requests", "40"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert found["compiled"] is False
    assert found["queued"] >= 20
    assert found["per_second"] > 0
