"""The bytes of a checkpoint: frames, one behind the other, and a manifest at the end that finds them.

``SAGECKPT2\\n`` · frames · manifest (JSON) · its length (8 bytes) · its CRC-32 (4 bytes) · ``SAGECKPT2\\n``. Every
frame has a CRC-32 in the manifest. Only one frame at a time is in memory while a checkpoint is written. A frame is
an Arrow IPC stream: what waits in front of a node is often thousands of frames of one record, and an IPC file of so
small a frame takes Polars twenty times as long to write and to read.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any, BinaryIO, cast

import orjson
import polars as pl

from sage_kernel.ipc_stream import write_ipc_stream
from sage_kernel.operator import State
from sage_kernel.state.checkpoint import Checkpoint, NodeCheckpoint

MAGIC = b"SAGECKPT2\n"
_TAIL = struct.Struct("<QI")
_PIECE_BYTES = 1024 * 1024


class TornCheckpointError(ValueError):
    """Bytes that are no whole checkpoint: one that was cut off or changed, or another file."""


def write_checkpoint(checkpoint: Checkpoint, file: BinaryIO) -> None:
    """Write ``checkpoint``. Raises OSError."""
    file.write(MAGIC)
    place = len(MAGIC)
    nodes: dict[str, Any] = {}
    for node_id, node in checkpoint.nodes.items():
        written: dict[str, Any] = {"op": node.op, "finished": node.is_finished}
        for name, state in (("state", node.state), ("inbox", node.inbox)):
            frames: dict[str, list[int]] = {}
            for frame_name in state.frames:
                counted = _CountedFile(file)
                write_ipc_stream(state.frames[frame_name], cast(IO[bytes], counted))
                frames[frame_name] = [place, counted.length, counted.crc]
                place += counted.length
            written[name] = {"values": state.values, "frames": frames}
        nodes[node_id] = written
    manifest = orjson.dumps(
        {
            "number": checkpoint.number,
            "spec_hash": checkpoint.spec_hash,
            "is_final": checkpoint.is_final,
            "nodes": nodes,
        }
    )
    file.write(manifest)
    file.write(_TAIL.pack(len(manifest), zlib.crc32(manifest)))
    file.write(MAGIC)


def read_checkpoint(file: BinaryIO) -> Checkpoint:
    """Return the checkpoint in a seekable file, which is closed with the last of its frames. All is checked now.

    Raises:
        TornCheckpointError: the bytes are not those of a whole checkpoint.
        OSError: they cannot be read.
    """
    held = _HeldFile(file)
    manifest = _read_manifest(file)
    try:
        nodes = {
            node_id: NodeCheckpoint(
                written["op"],
                _read_state(held, written["state"]),
                written["finished"],
                _read_state(held, written["inbox"]),
            )
            for node_id, written in manifest["nodes"].items()
        }
        return Checkpoint(manifest["number"], manifest["spec_hash"], nodes, manifest["is_final"])
    except (KeyError, TypeError, AttributeError) as error:
        raise TornCheckpointError(f"its manifest lacks {error}") from None


class StoredFrames(Mapping[str, pl.DataFrame]):
    """Frames of a file that stays open; each is read when it is asked for."""

    def __init__(self, held: _HeldFile, places: Mapping[str, tuple[int, int]]) -> None:
        self._held = held
        self._places = places

    def __getitem__(self, name: str) -> pl.DataFrame:
        offset, length = self._places[name]
        self._held.file.seek(offset)
        return pl.read_ipc_stream(io.BytesIO(self._held.file.read(length)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class _HeldFile:
    """A file that is closed with the last reference to it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def __del__(self) -> None:
        self.file.close()


class _CountedFile:
    """Takes what is written to a file into account: a frame in a buffer of its own would be copied twice more.

    Attributes:
        length: bytes written.
        crc: their CRC-32.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.length = 0
        self.crc = 0

    def write(self, data: bytes | memoryview) -> int:
        self.length += len(data)
        self.crc = zlib.crc32(data, self.crc)
        return self._file.write(data)

    def flush(self) -> None:
        """The file is flushed when all is in it."""


def _read_manifest(file: BinaryIO) -> dict[str, Any]:
    size = file.seek(0, io.SEEK_END)
    tail_bytes = _TAIL.size + len(MAGIC)
    if size < len(MAGIC) + tail_bytes:
        raise TornCheckpointError(f"it has {size} bytes")
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise TornCheckpointError("it does not begin as a checkpoint does")
    file.seek(size - tail_bytes)
    tail = file.read(tail_bytes)
    length, crc = _TAIL.unpack(tail[: _TAIL.size])
    if tail[_TAIL.size :] != MAGIC or length > size - tail_bytes - len(MAGIC):
        raise TornCheckpointError("its end is missing")
    file.seek(size - tail_bytes - length)
    data = file.read(length)
    if zlib.crc32(data) != crc:
        raise TornCheckpointError("its manifest was changed")
    manifest = orjson.loads(data)
    if not isinstance(manifest, dict):
        raise TornCheckpointError("its manifest is none")
    return manifest


def _read_state(held: _HeldFile, written: Mapping[str, Any]) -> State:
    file = held.file
    places: dict[str, tuple[int, int]] = {}
    for name, (offset, length, crc) in written["frames"].items():
        file.seek(offset)
        seen, left = 0, length
        while left:
            piece = file.read(min(left, _PIECE_BYTES))
            if not piece:
                raise TornCheckpointError("a frame is cut off")
            seen = zlib.crc32(piece, seen)
            left -= len(piece)
        if seen != crc:
            raise TornCheckpointError("a frame was changed")
        places[name] = (offset, length)
    return State(written["values"], StoredFrames(held, places))
