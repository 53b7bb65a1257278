"""Records in KV of running servers, by which another coordinator of the same machine can take them over.

The revision of a record is the owner's epoch: taking a server over rewrites its record at the revision that was read,
so of several who try one succeeds, and the guardian lets only a higher epoch take the place of a lower.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import orjson
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from sage_common.errors import ConflictError
from sage_common.logging import get_logger
from sage_platform.kv import read_entries, record_fields

log = get_logger(__name__)

BUCKET = "engine_servers"


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A running server.

    Attributes:
        server_id: unique to this run of it; names its socket.
        origin: who wants it: ``registered/<name>`` an operator, ``configured/<replica>/<index>`` a coordinator's
            settings.
        host: machine it runs on, see ``machine_id``.
        owner: executor id of the coordinator that owns it.
        devices: GPUs that it has, by index.
        memory_bytes: main memory that it was estimated to need.
        log_start: offset in the log file, in bytes, where its own lines begin.
        seats: requests that it computes at once; None where that is not known of its arguments.
        engine: the engine's settings without its API key.
    """

    server_id: str
    name: str
    origin: str
    host: str
    owner: str
    port: int
    socket: str
    log_file: str
    engine: dict[str, object]
    devices: tuple[str, ...] = ()
    memory_bytes: int = 0
    log_start: int = 0
    seats: int | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> ServerRecord:
        """Read a record; fields of a later version are left out. Raises ValueError or TypeError."""
        known = record_fields(cls, data)
        return cls(**{**known, "devices": tuple(known.get("devices", ()))})


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """A record as it stands; ``epoch`` is its revision."""

    record: ServerRecord
    epoch: int


class ServerRecords:
    """The records in KV. Every method raises nats' Error or asyncio.TimeoutError while NATS does not answer."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    async def create(self, record: ServerRecord) -> KeptRecord:
        """Write the record of a server that is about to start."""
        return KeptRecord(record, await self._bucket.create(record.server_id, _bytes(record)))

    async def claim(self, kept: KeptRecord, owner: str) -> KeptRecord:
        """Make ``owner`` the owner. Raises ConflictError when another was quicker, or it is gone."""
        record = replace(kept.record, owner=owner)
        try:
            return KeptRecord(record, await self._bucket.update(record.server_id, _bytes(record), last=kept.epoch))
        except KeyWrongLastSequenceError:
            raise ConflictError(f"the server {record.server_id} was claimed by another coordinator") from None

    async def delete(self, kept: KeptRecord) -> None:
        """Delete the record of a server that has ended, unless another owner has it by now."""
        try:
            await self._bucket.delete(kept.record.server_id, last=kept.epoch)
        except (KeyWrongLastSequenceError, KeyNotFoundError):
            log.info("record is another's by now", server=kept.record.server_id)

    async def all(self) -> list[KeptRecord]:
        """Return every record."""
        records = []
        for key, entry in (await read_entries(self._bucket)).items():
            try:
                records.append(KeptRecord(ServerRecord.from_bytes(entry.value or b""), entry.revision or 0))
            except (ValueError, TypeError) as error:
                log.error("unreadable record of a server left alone", key=key, error=str(error))
        return records


def _bytes(record: ServerRecord) -> bytes:
    return orjson.dumps(asdict(record))
