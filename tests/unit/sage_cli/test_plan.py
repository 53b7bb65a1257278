from __future__ import annotations

from pathlib import Path

import pytest

from sage_cli.mesh.plan import TIMEOUT_SECONDS, VLLM_TIMEOUT_SECONDS, MeshPlan, make_plan
from sage_cli.mesh.services import SERVICES
from sage_cli.mesh.specs import server_urls
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


def test_a_mesh_that_runs_without_a_studio_is_no_other_mesh() -> None:
    assert plan(studio=True).differences(plan(studio=False)) == []
    assert plan(llm="http://a", studio=True).differences(plan()) == ["llm is the default, not http://a"]


def test_only_the_services_that_are_named_run() -> None:
    counts = plan(services=["llm_coordinator", "classifier"], replicas=["classifier=2"]).replicas
    assert {name: count for name, count in counts.items() if count} == {"classifier": 2, "llm-coordinator": 1}


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "fe80::1", "http://10.0.0.1", "-"])
def test_an_address_that_others_do_not_reach_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="no address that other machines reach"):
        plan(advertise=address)


def test_a_nats_cluster_can_lose_a_server() -> None:
    chosen = plan(advertise="10.0.0.1", nats_servers="10.0.0.1, 10.0.0.2,10.0.0.3")
    assert chosen.cluster == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert "10.0.0.2 and 10.0.0.3" in chosen.most_of_cluster()
    for addresses in ("a,b", "a,b,c,d", "a,a,b"):
        with pytest.raises(ConfigurationError, match="name three, or five"):
            plan(nats_servers=addresses)
    with pytest.raises(ConfigurationError, match="--nats names a server of your own"):
        plan(nats_url="nats://10.0.0.9:4222", join="nats://10.0.0.1:4222")


def test_each_machine_of_a_cluster_asks_its_own_nats_server_first() -> None:
    cluster = "10.0.0.1,10.0.0.2,10.0.0.3"
    second = plan(advertise="10.0.0.2", join="nats://10.0.0.1:4222", nats_servers=cluster)
    assert server_urls(second) == "nats://127.0.0.1:4222,nats://10.0.0.1:4222,nats://10.0.0.3:4222"
    fourth = plan(advertise="10.0.0.4", join="nats://10.0.0.1:4222", nats_servers=cluster)
    assert server_urls(fourth) == "nats://10.0.0.1:4222,nats://10.0.0.2:4222,nats://10.0.0.3:4222"


def test_a_mesh_of_several_machines_has_no_nats_server_that_knows_nothing_of_its_certificates() -> None:
    with pytest.raises(ConfigurationError, match=r"leave out --nats, or --advertise 10\.0\.0\.1"):
        plan(nats_url="nats://10.0.0.9:4222", advertise="10.0.0.1")
