"""Which GPUs a server gets, and which port."""

from __future__ import annotations

import socket

import pytest

from sage_common.errors import InvalidRequestError, UnprocessableError
from sage_llm_coordinator.servers.devices import DevicePreference, Gpu, choose_gpus, read_gpus, read_preference, visible
from sage_llm_coordinator.servers.ports import choose_port

SMI = """\
0, GPU-aaaa-1, NVIDIA L4, 23034, 22000
1, GPU-bbbb-2, NVIDIA L4, 23034, 10000
2, GPU-cccc-3, NVIDIA L4, [N/A], [N/A]
3, GPU-dddd-4, NVIDIA L4, 23034, 23000
"""
GPUS = read_gpus(SMI)


def indices(gpus: tuple[Gpu, ...]) -> list[str]:
    return [gpu.index for gpu in gpus]


def test_what_nvidia_smi_cannot_tell_is_left_out() -> None:
    assert [gpu.index for gpu in GPUS] == ["0", "1", "3"]
    assert GPUS[0].total_bytes == 23034 * 1024**2


@pytest.mark.parametrize(
    ("text", "preference"),
    [
        ("", DevicePreference()),
        ("cpu", DevicePreference(cpu=True)),
        ("cpu:0-3,8", DevicePreference(cpu=True, cores="0-3,8")),
        ("cuda", DevicePreference(gpu=True)),
        ("CUDA:1,3", DevicePreference(gpu=True, gpus=("1", "3"))),
        ("0,1", DevicePreference(gpu=True, gpus=("0", "1"))),
    ],
)
def test_devices_are_read(text: str, preference: DevicePreference) -> None:
    assert read_preference(text) == preference


def test_a_device_that_is_none_is_refused_with_what_may_be_written() -> None:
    with pytest.raises(InvalidRequestError, match="cpu:0-3"):
        read_preference("tpu")


def test_gpus_without_an_engine_come_first_and_then_the_emptiest() -> None:
    assert indices(choose_gpus(DevicePreference(), 1, GPUS, ())) == ["3"]
    assert indices(choose_gpus(DevicePreference(), 1, GPUS, {"3"})) == ["0"]
    assert indices(choose_gpus(DevicePreference(), 2, GPUS, {"0"})) == ["1", "3"]


def test_the_operators_choice_is_taken_or_refused() -> None:
    assert indices(choose_gpus(read_preference("cuda:1"), 1, GPUS, {"1"})) == ["1"]
    with pytest.raises(UnprocessableError, match=r"no GPU 7 here; there are: 0 \(NVIDIA L4\)"):
        choose_gpus(read_preference("cuda:7"), 1, GPUS, ())
    with pytest.raises(UnprocessableError, match="ask for 2 GPUs"):
        choose_gpus(read_preference("cuda:1"), 2, GPUS, ())
    with pytest.raises(UnprocessableError, match="here are: none"):
        choose_gpus(read_preference("cuda"), 1, [], ())


def test_without_gpus_or_on_request_it_runs_on_the_cpu() -> None:
    assert choose_gpus(DevicePreference(), 2, [], ()) == ()
    assert choose_gpus(read_preference("cpu"), 1, GPUS, ()) == ()


def test_only_the_gpus_that_this_process_may_see_count() -> None:
    assert [gpu.index for gpu in visible(GPUS, "3,0")] == ["3", "0"]
    assert [gpu.index for gpu in visible(GPUS, "GPU-bbbb")] == ["1"]
    assert visible(GPUS, "") == []
    assert visible(GPUS, None) == GPUS


def test_a_port_is_the_first_of_the_range_that_nobody_has() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        first = busy.getsockname()[1]
        with pytest.raises(UnprocessableError, match="is in use"):
            choose_port(first, "0-0", ())
        with pytest.raises(UnprocessableError, match=f"every port of {first}-{first} is in use"):
            choose_port(0, f"{first}-{first}", ())
        chosen = choose_port(0, f"{first}-{first + 50}", {first + 1})
        assert chosen > first + 1
