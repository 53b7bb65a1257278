"""Checkpoints of a task: the newest is named in KV by compare-and-set, the bytes are in a file that workers share."""

from __future__ import annotations

import asyncio
import io
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from nats.js.errors import KeyDeletedError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from sage_common.errors import UnavailableError, UnprocessableError
from sage_common.logging import get_logger
from sage_dataflow_worker.job import NodeProgress, progress_from
from sage_dataflow_worker.results import LeaseLostError
from sage_kernel.state.blobs import FileBlobs
from sage_kernel.state.checkpoint import Checkpoint
from sage_kernel.state.checkpoint_file import TornCheckpointError, read_checkpoint, write_checkpoint
from sage_platform import subjects
from sage_platform.subjects import token

log = get_logger(__name__)


@dataclass(frozen=True)
class CheckpointPointer:
    """Which checkpoint a task goes on from, and who may write the next.

    Attributes:
        epoch: of the lease whose holder writes.
        file: in the task's folder of checkpoints; empty when there is none yet.
        progress: counts at about that time.
    """

    epoch: int
    number: int = 0
    file: str = ""
    spec_hash: str = ""
    progress: dict[str, NodeProgress] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: bytes) -> CheckpointPointer:
        """Read the stored form."""
        values = orjson.loads(data)
        values["progress"] = progress_from(values["progress"])
        return cls(**values)


class TaskCheckpoints:
    """The ``CheckpointStore`` of one task under one lease.

    Args:
        bucket: the bucket ``checkpoints``.
        folder: where the files are; one folder for all workers of the mesh.
        progress: returns the counts by node, to be kept beside the checkpoint.
    """

    def __init__(
        self,
        bucket: KeyValue,
        folder: Path,
        job_id: str,
        task: int,
        epoch: int,
        progress: Callable[[], dict[str, NodeProgress]],
    ) -> None:
        self._bucket = bucket
        self._folder = folder / token(job_id) / str(task)
        self._blobs = FileBlobs(self._folder)
        self._key = subjects.task_key(job_id, task)
        self._epoch = epoch
        self._progress = progress
        self._pointer = CheckpointPointer(epoch)
        self._revision = 0

    @property
    def pointer(self) -> CheckpointPointer:
        """The checkpoint that there is."""
        return self._pointer

    async def open(self) -> None:
        """Shut earlier holders out, and find the newest checkpoint. Raises LeaseLostError."""
        while True:
            known, revision = await read_pointer(self._bucket, self._key)
            if known.epoch > self._epoch:
                raise LeaseLostError("another worker has taken this task over")
            pointer = CheckpointPointer(**{**vars(known), "epoch": self._epoch})
            try:
                self._revision = await self._bucket.update(self._key, _json(pointer), last=revision)
            except KeyWrongLastSequenceError:
                continue
            self._pointer = pointer
            return

    async def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint.

        Raises:
            UnavailableError: its file is not in this worker's folder.
            UnprocessableError: the file is torn.
        """
        if not self._pointer.file:
            return None
        try:
            data = await asyncio.to_thread((self._folder / self._pointer.file).read_bytes)
            return await asyncio.to_thread(read_checkpoint, io.BytesIO(data))
        except FileNotFoundError:
            raise UnavailableError(
                f"the checkpoint {self._pointer.file} is not in {self._folder}; "
                "let all workers share dataflow_worker.checkpoint_dir",
                code="checkpoint_gone",
            ) from None
        except TornCheckpointError as error:
            message = f"the checkpoint {self._pointer.file} in {self._folder} is torn: {error}"
            raise UnprocessableError(message) from None

    async def discard(self) -> None:
        """Keep it: it is removed with those of the other tasks when the job has ended."""

    async def save(self, checkpoint: Checkpoint) -> None:
        """Write the file, then name it. Raises OSError, LeaseLostError; the one before stays then."""
        file = f"{self._epoch}-{checkpoint.number}.checkpoint"
        progress = self._progress()
        await self._blobs.put(file, partial(write_checkpoint, checkpoint))
        pointer = CheckpointPointer(self._epoch, checkpoint.number, file, checkpoint.spec_hash, progress)
        try:
            self._revision = await self._bucket.update(self._key, _json(pointer), last=self._revision)
        except KeyWrongLastSequenceError:
            stored, revision = await read_pointer(self._bucket, self._key)
            if stored.epoch != self._epoch:
                await self._blobs.delete(file)
                raise LeaseLostError("another worker has taken this task over") from None
            # An own write was stored whose answer was lost.
            self._revision = await self._bucket.update(self._key, _json(pointer), last=revision)
        before, self._pointer = self._pointer, pointer
        if before.file and before.file != pointer.file:
            await self._blobs.delete(before.file)


async def read_pointer(bucket: KeyValue, key: str) -> tuple[CheckpointPointer, int]:
    """Return which checkpoint a task has, and the revision under which that is stored; 0 where nothing is."""
    try:
        entry = await bucket.get(key)
    except (KeyNotFoundError, KeyDeletedError):
        return CheckpointPointer(0), 0
    try:
        return CheckpointPointer.from_json(entry.value or b""), int(entry.revision or 0)
    except (orjson.JSONDecodeError, TypeError, KeyError) as error:
        raise UnprocessableError(f"the pointer to the checkpoint of {key} cannot be read: {error}") from None


def remove_checkpoints(folder: Path, job_id: str) -> None:
    """Remove the files of a job that needs them no more."""
    shutil.rmtree(folder / token(job_id), ignore_errors=True)


def remove_older_than(folder: Path, seconds: float) -> None:
    """Remove the files of jobs that nothing has been written of for so long."""
    oldest = time.time() - seconds
    for below in folder.glob("*/*"):
        if below.is_dir() and below.stat().st_mtime < oldest:
            shutil.rmtree(below, ignore_errors=True)


def _json(pointer: CheckpointPointer) -> bytes:
    value: dict[str, Any] = asdict(pointer)
    return orjson.dumps(value)
