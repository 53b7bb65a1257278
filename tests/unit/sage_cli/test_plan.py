from __future__ import annotations

from pathlib import Path

import pytest

from sage_cli.mesh.plan import TIMEOUT_SECONDS, VLLM_TIMEOUT_SECONDS, MeshPlan, make_plan
from sage_cli.mesh.services import SERVICES
from sage_common.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def plan(**flags: object) -> MeshPlan:
    given = {"llm": None, "embed": None, "replicas": [], "nats_url": None, "timeout_seconds": None, **flags}
    return make_plan(**given)  # type: ignore[arg-type]


def test_every_service_runs_once_unless_told_otherwise() -> None:
    assert plan().replicas == {entry.name: 1 for entry in SERVICES}
    assert plan(replicas=["classifier=3", "llm_coordinator=0"]).replicas["classifier"] == 3
    assert plan(replicas=["llm_coordinator=0"]).replicas["llm-coordinator"] == 0


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sage").mkdir()
    (tmp_path / "sage" / "config.yaml").write_text("cli: {llm: http://file, embed: from-file}")
    assert plan().llm == "http://file"
    monkeypatch.setenv("SAGE_CLI_LLM", "http://environment")
    assert (plan().llm, plan().embed) == ("http://environment", "from-file")
    assert plan(llm="http://flag").llm == "http://flag"


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("classifier", "NAME=N"),
        ("classifier=two", "NAME=N"),
        ("classifier=-1", "NAME=N"),
        ("clasifier=2", "did you mean 'classifier'"),
        ("classifier=1000", "choose 0 to 64"),
    ],
)
def test_a_wrong_replica_count_is_explained(item: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        plan(replicas=[item])


def test_loading_a_model_into_vllm_gets_more_time_unless_a_time_is_given() -> None:
    assert plan().timeout_seconds == TIMEOUT_SECONDS
    assert plan(llm="http://127.0.0.1:8001/v1").timeout_seconds == TIMEOUT_SECONDS
    assert plan(llm="some/model").timeout_seconds == VLLM_TIMEOUT_SECONDS
    assert plan(llm="some/model", timeout_seconds=5.0).timeout_seconds == 5.0


def test_a_plan_survives_the_way_to_a_detached_process() -> None:
    given = plan(llm="some/model", replicas=["gateway=2"], nats_url="nats://elsewhere:4222")
    assert MeshPlan.from_json(given.to_json()) == given
