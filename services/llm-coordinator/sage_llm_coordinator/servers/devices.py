"""The GPUs of this machine and which of them a server gets."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sage_common.errors import InvalidRequestError, UnprocessableError
from sage_common.logging import get_logger

log = get_logger(__name__)

QUERY = ("--query-gpu=index,uuid,name,memory.total,memory.free", "--format=csv,noheader,nounits")
QUERY_SECONDS = 10.0
MIB = 1024**2
_CPU = re.compile(r"cpu(?::([\d,-]+))?$")
_GPUS = re.compile(r"(?:(?:cuda|gpu):?)?([\d,]*)$")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU; ``index`` as nvidia-smi and CUDA_VISIBLE_DEVICES count."""

    index: str
    uuid: str
    name: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class DevicePreference:
    """What an engine's ``device`` asks for.

    Attributes:
        cpu: the CPU, whatever there is beside it.
        cores: CPU cores to bind to, as vLLM writes them ("0-3,8"); empty for its own choice.
        gpus: these GPUs; empty for any.
        gpu: a GPU, whichever.
    """

    cpu: bool = False
    cores: str = ""
    gpu: bool = False
    gpus: tuple[str, ...] = ()


def read_preference(device: str) -> DevicePreference:
    """Read ``cpu``, ``cpu:0-3``, ``cuda``, ``cuda:0,1``, ``0,1`` or nothing. Raises InvalidRequestError."""
    text = device.strip().lower()
    if not text:
        return DevicePreference()
    if cpu := _CPU.match(text):
        return DevicePreference(cpu=True, cores=cpu[1] or "")
    if gpus := _GPUS.match(text):
        return DevicePreference(gpu=True, gpus=tuple(filter(None, gpus[1].split(","))))
    raise InvalidRequestError(
        f"device {device!r}: write cpu, cpu:0-3 (cores), cuda, or cuda:0,1 (GPUs)", param="device"
    )


def choose_gpus(
    preference: DevicePreference, count: int, gpus: Sequence[Gpu], taken: Collection[str]
) -> tuple[Gpu, ...]:
    """Return the GPUs for a server that needs ``count``; none when it runs on the CPU.

    Where the operator does not name them: those that no other engine has, the emptiest first; if there are too few, the
    emptiest.

    Raises:
        UnprocessableError: there are not enough, or the preference names one that is not there.
    """
    if preference.cpu or (not gpus and not preference.gpu):
        return ()
    by_index = {gpu.index: gpu for gpu in gpus}
    shown = ", ".join(f"{gpu.index} ({gpu.name})" for gpu in gpus) or "none"
    if preference.gpus:
        missing = [index for index in preference.gpus if index not in by_index]
        if missing:
            raise UnprocessableError(f"there is no GPU {', '.join(missing)} here; there are: {shown}", param="device")
        if len(preference.gpus) < count:
            raise UnprocessableError(
                f"the arguments ask for {count} GPUs and device names {len(preference.gpus)}; name as many",
                param="device",
            )
        return tuple(by_index[index] for index in preference.gpus)
    if len(gpus) < count:
        raise UnprocessableError(f"the arguments ask for {count} GPUs; here are: {shown}", param="device")
    ranked = sorted(gpus, key=lambda gpu: (gpu.index in taken, -gpu.free_bytes))
    return tuple(sorted(ranked[:count], key=lambda gpu: list(by_index).index(gpu.index)))


async def list_gpus() -> list[Gpu]:
    """Return the GPUs that this process may use, as ``nvidia-smi`` lists them; none without it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    process = await asyncio.create_subprocess_exec(
        program, *QUERY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), QUERY_SECONDS)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
        log.warning("nvidia-smi does not answer; the GPUs are not known")
        return []
    if process.returncode != 0:
        log.warning("nvidia-smi failed; the GPUs are not known", output=output.decode("utf-8", "replace").strip())
        return []
    return visible(read_gpus(output.decode("utf-8", "replace")), os.environ.get("CUDA_VISIBLE_DEVICES"))


def read_gpus(output: str) -> list[Gpu]:
    """Read what ``nvidia-smi`` answers to QUERY: a line for each GPU, memory in MiB."""
    gpus = []
    for line in output.splitlines():
        columns = [column.strip() for column in line.split(",")]
        # A GPU that is cut into MIG instances says "[N/A]"; which instance is meant only the operator can say.
        if len(columns) == 5 and columns[3].isdecimal() and columns[4].isdecimal():
            index, uuid, name, total, free = columns
            gpus.append(Gpu(index, uuid, name, int(total) * MIB, int(free) * MIB))
    return gpus


def visible(gpus: Sequence[Gpu], allowed: str | None) -> list[Gpu]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves this process, in its order; it names them by index or UUID."""
    if allowed is None:
        return list(gpus)
    named = [name.strip() for name in allowed.split(",") if name.strip()]
    return [gpu for name in named for gpu in gpus if name == gpu.index or (len(name) > 4 and gpu.uuid.startswith(name))]
