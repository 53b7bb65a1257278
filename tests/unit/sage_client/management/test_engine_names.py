"""Which engine an operator means by a name."""

from __future__ import annotations

import pytest

from sage_client.management.mesh_management import MeshManagement
from sage_client.management.translation import engine_view
from sage_client.management.views import EngineView
from sage_common.errors import ConflictError, NotFoundError
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec, EngineState
from sage_platform.registry import Instance

COORDINATOR = Instance("llm-coordinator", "coordinator-1", "127.0.0.1", 1, 1)


@pytest.fixture
def management(monkeypatch: pytest.MonkeyPatch) -> MeshManagement:
    async def engines(self: MeshManagement) -> list[EngineView]:
        labelled = {
            "chat-a1b2": (("registered", "chat"),),
            "tiny-2-a1b2": (("configured", "1/1"), ("name", "tiny")),
            "twin-a1b2": (("configured", "1/2"), ("name", "twin")),
            "twin-c3d4": (("configured", "2/2"), ("name", "twin")),
            "taken-a1b2": (("name", "taken"),),
            "taken-c3d4": (("name", "taken"),),
            "stuck-a1b2": (("name", "stuck"),),
        }
        stopped = {"taken-a1b2", "stuck-a1b2"}
        return [
            engine_view(
                EngineState(
                    EngineSpec(key, "vllm", (), labels=labels),
                    EnginePhase.STOPPED if key in stopped else EnginePhase.READY,
                    executor_id="coordinator-1",
                )
            )
            for key, labels in labelled.items()
        ]

    async def instances() -> list[Instance]:
        return [COORDINATOR]

    monkeypatch.setattr(MeshManagement, "engines", engines)
    return MeshManagement(instances)


@pytest.mark.parametrize("name", ["chat", "chat-a1b2"])
async def test_an_engine_goes_by_its_id_and_its_registered_name(management: MeshManagement, name: str) -> None:
    assert (await management._owner(name))[1] == "chat-a1b2"


async def test_an_engine_of_a_coordinators_settings_has_a_name_too(management: MeshManagement) -> None:
    assert (await management._owner("tiny"))[1] == "tiny-2-a1b2"


async def test_a_name_of_several_engines_has_to_be_an_id(management: MeshManagement) -> None:
    with pytest.raises(ConflictError, match="name one by its id: twin-a1b2, twin-c3d4"):
        await management._owner("twin")
    assert (await management._owner("twin-c3d4"))[1] == "twin-c3d4"


async def test_a_name_means_the_engine_that_serves_where_another_of_it_is_stopped(management: MeshManagement) -> None:
    assert (await management._owner("taken"))[1] == "taken-c3d4"
    assert (await management._owner("taken-a1b2"))[1] == "taken-a1b2"


async def test_a_stopped_engine_may_be_removed_again_by_its_name(management: MeshManagement) -> None:
    assert (await management._owner("stuck"))[1] == "stuck-a1b2"


async def test_the_value_of_another_label_is_no_name(management: MeshManagement) -> None:
    with pytest.raises(NotFoundError, match="no engine has the id '1/1'"):
        await management._owner("1/1")
