"""A response that is kept, with what it takes to go on from it."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sage_mesh import exact_json

QUEUED = "queued"
IN_PROGRESS = "in_progress"
CANCELLED = "cancelled"
# From which a conversation can go on.
SPOKEN = frozenset({"completed", "incomplete"})
OPEN = frozenset({QUEUED, IN_PROGRESS})
_RESPONSE_ID = re.compile(r"resp_[0-9a-f]{24}")

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BackgroundOrder:
    """What it takes to make a response that nobody waits for.

    Attributes:
        body: of the request.
        hints: of its headers, as headers.
        timeout_seconds: longest wait for the answer.
        key_id: of the key that the request came with, where the mesh has issued it; empty otherwise.
    """

    body: dict[str, Any]
    hints: dict[str, str]
    timeout_seconds: float
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One response.

    Attributes:
        document: as it is told to clients.
        items: of its own input, with ids.
        earlier: of the conversation before them.
        order: of a response in the background, until it has ended.
    """

    id: str
    tenant: str
    document: dict[str, Any]
    items: tuple[Item, ...] = ()
    earlier: tuple[Item, ...] = ()
    order: BackgroundOrder | None = field(default=None)

    @property
    def status(self) -> str:
        """Where it is: queued, in_progress, or how it has ended."""
        return str(self.document["status"])

    @property
    def is_open(self) -> bool:
        """Whether it is still to be made."""
        return self.status in OPEN

    @property
    def conversation(self) -> list[Item]:
        """What was said up to its end."""
        return [*self.earlier, *self.items, *self.document["output"]]


def input_items(given: Any, response_id: str) -> tuple[Item, ...]:
    """Return the input of a request as items with ids, for listing; it has been read and found well-formed."""
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    return tuple(_item(item, f"{response_id.removeprefix('resp_')}_{number}") for number, item in enumerate(items))


def _item(item: Item, suffix: str) -> Item:
    made = {"type": "message", **item}
    if made["type"] == "message":
        if isinstance(made["content"], str):
            kind = "output_text" if made["role"] == "assistant" else "input_text"
            part: Item = {"type": kind, "text": made["content"]}
            made["content"] = [{**part, "annotations": []} if kind == "output_text" else part]
        made.setdefault("status", "completed")
    if not made.get("id"):
        made["id"] = f"{_PREFIXES.get(made['type'], 'item')}_in_{suffix}"
    return made


_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fc", "reasoning": "rs"}


def new_response_id() -> str:
    """Return an id that nobody can guess."""
    return f"resp_{os.urandom(12).hex()}"


def is_response_id(text: str) -> bool:
    """Whether an id can be a response's."""
    return _RESPONSE_ID.fullmatch(text) is not None


def encode_response(record: StoredResponse) -> bytes:
    """Return what is stored of a response, compressed: conversations repeat themselves."""
    return zlib.compress(exact_json.write(asdict(record)), level=1)


def decode_response(data: bytes) -> StoredResponse:
    """Return a response from what is stored of it. Raises ValueError, KeyError, TypeError, zlib.error."""
    value = exact_json.read(zlib.decompress(data))
    items: Sequence[Item] = value["items"]
    order = value["order"]
    return StoredResponse(
        value["id"],
        value["tenant"],
        value["document"],
        tuple(items),
        tuple(value["earlier"]),
        None if order is None else BackgroundOrder(**order),
    )
