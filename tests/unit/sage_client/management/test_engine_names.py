"""Which engine an operator means by a name."""

from __future__ import annotations

import pytest

from sage_client.management.mesh_management import MeshManagement
from sage_client.management.results import EngineView
from sage_client.management.translation import engine_view
from sage_common.errors import NotFoundError
from sage_control_plane.engines import EngineSpec, EngineState
from sage_platform.registry import Instance

COORDINATOR = Instance("llm-coordinator", "coordinator-1", "127.0.0.1", 1, 1)


@pytest.fixture
def management(monkeypatch: pytest.MonkeyPatch) -> MeshManagement:
    async def engines(self: MeshManagement) -> list[EngineView]:
        labelled = {"chat-a1b2": ("registered", "chat"), "tiny-a1b2": ("configured", "1/1")}
        return [
            engine_view(EngineState(EngineSpec(key, "vllm", (), labels=(label,)), executor_id="coordinator-1"))
            for key, label in labelled.items()
        ]

    async def instances() -> list[Instance]:
        return [COORDINATOR]

    monkeypatch.setattr(MeshManagement, "engines", engines)
    return MeshManagement(instances)


@pytest.mark.parametrize("name", ["chat", "chat-a1b2"])
async def test_an_engine_goes_by_its_id_and_its_registered_name(management: MeshManagement, name: str) -> None:
    assert (await management._owner(name))[1] == "chat-a1b2"


async def test_the_value_of_another_label_is_no_name(management: MeshManagement) -> None:
    with pytest.raises(NotFoundError, match="no engine has the id '1/1'"):
        await management._owner("1/1")
