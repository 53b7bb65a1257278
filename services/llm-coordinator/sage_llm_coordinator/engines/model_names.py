"""The name of a model in an answer: the one that its caller used."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from sage_control_plane.request.catalog import ANY_MODEL
from sage_mesh.engine import EngineRequest


@dataclass(frozen=True, slots=True)
class ModelNames:
    """How the engine calls the model and how the caller did, each as it stands in JSON; both empty where they agree.

    A quote inside a JSON string is written ``\\"``, so what is replaced is a field and never a part of a text.
    """

    engines: tuple[bytes, ...] = ()
    callers: bytes = b""

    @classmethod
    def of(cls, job: EngineRequest, asked: bytes) -> ModelNames:
        """The names in a job; who names no model is told the model's own name.

        Args:
            asked: the job's body ``with_model``.
        """
        if asked is job.body:
            return AGREED
        given = orjson.loads(job.body).get("model")
        if not isinstance(given, str) or given in ANY_MODEL or given == job.model:
            return AGREED
        own = orjson.dumps(job.model)
        return cls((b'"model":' + own, b'"model": ' + own), b'"model":' + orjson.dumps(given))

    def in_answer(self, document: bytes) -> bytes:
        """Put the caller's name into a whole JSON answer."""
        return self._renamed(document, 1)

    def in_events(self, events: bytes) -> bytes:
        """Put the caller's name into events of a stream."""
        return self._renamed(events, -1)

    def _renamed(self, data: bytes, most: int) -> bytes:
        for own in self.engines:
            data = data.replace(own, self.callers, most)
        return data


AGREED = ModelNames()
