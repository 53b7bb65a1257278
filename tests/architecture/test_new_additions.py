"""What `sage-dev new` makes is registered, tested and passes every check, as it is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fixtures.tree_copy import TreeCopy

from sage_common.errors import SageError
from sage_tools.dev import Kind, addition_of

ROOT = Path(__file__).parents[2]

ADDED = {
    "policy": "tokens_first",
    "operator": "count_letters",
    "engine": "tiny_server",
    "service": "model-list",
}
SAGE_DEV = ("-m", "sage_tools.dev")
BIN = Path(sys.executable).parent
# What lists all policies, operators, engines or services, or is generated from them.
SUITES = (
    "tests/contracts/test_policies.py",
    "tests/contracts/test_pipeline_docs.py",
    "tests/contracts/test_pipeline_round_trip.py",
    "tests/contracts/test_pipeline_spec.py",
    "tests/unit/sage_studio/test_operator_forms.py",
    "tests/unit/sage_cli/test_plan.py",
    "tests/unit/sage_tools/test_site.py",
    "tests/compose/test_files.py",
    "tests/compose/test_requirements.py",
    "tests/compose/test_observability_files.py",
    "tests/kubernetes/test_manifests.py",
    "tests/kubernetes/test_network_policies.py",
    "tests/architecture/test_layers.py",
    "tests/architecture/test_names.py",
    "tests/architecture/test_sources.py",
)


def make(tree: TreeCopy, kind: str) -> None:
    """Make what is to be added of a kind, as one would at the command line."""
    said = tree.python(*SAGE_DEV, "new", kind, ADDED[kind])
    assert "What is left:" in said.stderr
    told = [line.split() for line in said.stdout.splitlines()]
    assert {what for what, _ in told} == {"new", "changed"}
    assert [path for _, path in told if not (tree.root / path).exists()] == []


def added_python(tree: TreeCopy) -> list[str]:
    paths = [line[3:] for line in tree.status() if line.startswith("??")]
    return [path for path in paths if path.endswith(".py") and "_pb2" not in path]


def own_tests(tree: TreeCopy) -> list[str]:
    return [path for path in added_python(tree) if Path(path).name.startswith("test_")]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> TreeCopy:
    return TreeCopy(tmp_path_factory.mktemp("tree"))


def test_a_new_operator_works_as_it_is_and_one_that_does_not_load_leaves_nothing(tree: TreeCopy) -> None:
    make(tree, "operator")
    tree.run(str(BIN / "ruff"), "check", "--no-cache", "--quiet", *added_python(tree))
    (tests,) = own_tests(tree)
    tree.pytest(tests)
    before = tree.status()
    # Streams have a method of this name.
    done = tree.python(*SAGE_DEV, "new", "operator", "late", succeeds=False)
    assert (done.returncode, "would hide the operator" in done.stderr) == (1, True), done.stderr
    assert tree.status() == before


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        (Kind.POLICY, "hybrid", "a module 'hybrid' already"),
        (Kind.OPERATOR, "hybrid", "a module 'hybrid' already"),
        (Kind.OPERATOR, "fifo", "a module 'fifo' already"),
        (Kind.ENGINE, "vllm", "a module 'vllm_engine' already"),
        (Kind.SERVICE, "gateway", "services/gateway exists"),
        (Kind.SERVICE, "inference", "proto/sage/inference exists"),
        (Kind.POLICY, "Shortest", "no name for a new policy"),
        (Kind.ENGINE, "2fast", "no name for a new engine"),
        (Kind.OPERATOR, "a__b", "no name for a new operator"),
        (Kind.OPERATOR, "class", "a word of Python's"),
        (Kind.SERVICE, "x" * 41, "at most 40 characters"),
    ],
)
def test_a_name_that_exists_or_is_none_is_refused(kind: Kind, name: str, said: str) -> None:
    with pytest.raises(SageError, match=said):
        addition_of(kind, ROOT, name)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_each_kind_passes_every_check_as_it_is(tmp_path: Path) -> None:
    tree = TreeCopy(tmp_path)
    for kind in ADDED:
        make(tree, kind)
    tree.run(str(BIN / "ruff"), "check", "--no-cache", "--quiet", "libs/python", "services", "tests")
    tree.run(str(BIN / "buf"), "lint", "proto")
    tree.python("-m", "sage_tools.stubs", "--check")
    tree.run(str(BIN / "lint-imports"), "--no-cache")
    tree.run(str(BIN / "mypy"), *(path for path in added_python(tree) if not path.startswith("tests/")))
    assert len(own_tests(tree)) == len(ADDED)
    tree.pytest(*own_tests(tree), *SUITES)
