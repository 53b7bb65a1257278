"""Storing records as documents of a knowledge base, each known by its id."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sage_common.errors import InvalidRequestError, SageError, UnprocessableError
from sage_kernel.connectors.patience import Attempts
from sage_kernel.knowledge_access import KnowledgeAccess, TextDocument
from sage_kernel.model_port import ModelPort
from sage_kernel.operator import State
from sage_kernel.template import Template


class KnowledgeSink:
    """Stores each batch at once; a record that comes again is stored in place of itself.

    Args:
        name: of the knowledge base.
        identity: the template of what a document is known by.
        text: the field with the text.
        kept: fields that are kept as metadata; None keeps all that hold a number, a text or a time.
    """

    def __init__(
        self,
        name: str,
        identity: Template,
        text: str,
        kept: Sequence[str] | None,
        knowledge: KnowledgeAccess,
        models: ModelPort,
        patience: Attempts,
    ) -> None:
        self._name = name
        self._identity = identity
        self._text = text
        self._kept = kept
        self._knowledge = knowledge
        self._models = models
        self._patience = patience

    async def write(self, frame: pl.DataFrame) -> None:
        """Store records.

        Raises:
            UnprocessableError, InvalidRequestError: a record has no text, or an id that names no document.
            OSError: what has nothing to do with the records.
        """
        documents = [self._document(record) for record in frame.iter_rows(named=True)]
        try:
            await self._patience.attempt(lambda: self._knowledge.store(self._name, documents, self._models))
        except (UnprocessableError, InvalidRequestError) as error:
            if error.retryable:
                raise OSError(error.message) from error
            raise
        except SageError as error:
            # No record is to blame, so none becomes a dead letter.
            raise OSError(error.message) from error

    async def flush(self) -> State:
        """What was stored is on the disk."""
        return State()

    async def restore(self, state: State) -> None:
        """What was stored after the checkpoint is stored again, the same."""

    async def publish(self) -> None:
        """The documents are where they are wanted; a knowledge base without any is made too."""
        await self._patience.attempt(lambda: self._knowledge.store(self._name, (), self._models))

    async def close(self) -> None:
        """Nothing is held."""

    def _document(self, record: Mapping[str, Any]) -> TextDocument:
        text = record[self._text]
        if not isinstance(text, str):
            raise UnprocessableError(f"field {self._text!r} is no text; name the one that is first in 'fields'")
        names = self._kept if self._kept is not None else [name for name in record if name != self._text]
        found = {name: _metadata_value(record[name]) for name in names}
        return TextDocument(
            self._identity.render(record), text, {name: value for name, value in found.items() if value is not None}
        )


def _metadata_value(value: object) -> str | int | float | bool | None:
    """Return what a filter can be compared with; None for vectors, lists and records."""
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return None
