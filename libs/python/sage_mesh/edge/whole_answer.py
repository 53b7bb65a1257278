"""Bulk answers in one piece travel as streams, and are folded here: what has come is kept where an attempt is stopped.

A document shows nothing before its end, so an engine that is asked for one can only be stopped at the cost of all it
has generated.
"""

from __future__ import annotations

from typing import Any, Final

from sage_common.errors import EngineFailedError, SageError
from sage_control_plane.request.body import read_body
from sage_control_plane.request.catalog import KIND_OF_ENDPOINT, ModelCatalog
from sage_control_plane.request.classification import is_resumable
from sage_control_plane.request.request import Endpoint, Hints, Priority, ServiceClass
from sage_mesh import exact_json
from sage_mesh.answer_folder import AnswerFolder
from sage_mesh.openai_answer import usage_object
from sage_mesh.reply import ReplyHead, TokenUsage
from sage_mesh.sse import DONE, SseParser

# By the owner of their models: they tell the usage of a stream, so that nothing of it is lost in the document.
STREAMING_SERVERS: Final = frozenset({"vllm", "sglang", "llamacpp", "sage-simulated"})


def streamed_body(endpoint: Endpoint, body: bytes, hints: Hints, catalog: ModelCatalog) -> bytes | None:
    """Return the body that asks for a bulk answer in one piece as a stream.

    None for any other request, for one whose answer cannot be continued, and where the model's server may not tell all
    that its document would have told.
    """
    is_bulk = hints.service_class is ServiceClass.BULK or (
        hints.service_class is None and hints.priority is Priority.BACKGROUND
    )
    if not is_bulk or endpoint not in (Endpoint.CHAT_COMPLETIONS, Endpoint.COMPLETIONS):
        return None
    try:
        content = read_body(endpoint, body)
        entry = catalog.resolve(content.model, endpoint)
        if content.streaming or not is_resumable(KIND_OF_ENDPOINT[endpoint], content):
            return None
        if entry.card.owned_by not in STREAMING_SERVERS:
            return None
        value = exact_json.read(body)
        return None if "stream_options" in value else exact_json.write({**value, "stream": True})
    except (SageError, ValueError):
        # The classifier says what is wrong with it.
        return None


class WholeAnswer:
    """The events of a stream until they are folded.

    What came before ``keep`` stays; what came after it is forgotten by ``restart``.

    Attributes:
        head: of the document; None until the stream has begun.
        size: bytes held.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._pieces: list[bytes] = []
        self._kept = 0
        self.head: ReplyHead | None = None
        self.size = 0

    def add(self, events: bytes) -> None:
        """Add whole events."""
        self._pieces.append(events)
        self.size += len(events)

    def keep(self) -> None:
        """Keep what is there, whatever becomes of the attempt that follows."""
        self._kept = len(self._pieces)

    def restart(self) -> None:
        """Forget what came since ``keep``: it comes again."""
        del self._pieces[self._kept :]
        self.size = sum(map(len, self._pieces))

    def document(self, usage: TokenUsage) -> bytes:
        """Return the document that says what the events say. Raises EngineFailedError where they hold no answer."""
        folder = AnswerFolder(self._endpoint)
        for event in SseParser().feed(b"".join(self._pieces)):
            if event.data != DONE:
                chunk = _object(event.data)
                if chunk is not None:
                    folder.take(chunk)
        document = folder.document()
        if not document["choices"]:
            raise EngineFailedError("the engine's stream holds no answer", retryable=True)
        counted: dict[str, Any] = {**usage_object(usage)}
        if usage.cached_tokens:
            counted["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
        return exact_json.write({**document, "usage": counted})


def _object(data: str) -> dict[str, Any] | None:
    try:
        value = exact_json.read(data.encode())
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
