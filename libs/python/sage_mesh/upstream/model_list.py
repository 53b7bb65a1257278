"""The list of models of an OpenAI-compatible server, in the shapes that servers give it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from sage_control_plane.request.engine_state import ModelCard
from sage_control_plane.request.request import RequestKind

LLM_KINDS = frozenset({RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE})
_EMBEDDING: Final = frozenset({RequestKind.EMBEDDING})
# Names in the field ``kinds`` of an entry: short ones, and those that SAGE's own gateway writes.
KIND_NAMES: Final[dict[str, RequestKind]] = {
    "chat": RequestKind.LLM_CHAT,
    "generate": RequestKind.LLM_GENERATE,
    "embedding": RequestKind.EMBEDDING,
    "llm_chat": RequestKind.LLM_CHAT,
    "llm_generate": RequestKind.LLM_GENERATE,
}
# Fields by which other servers say what a model is for, and the words that they use.
_HINT_FIELDS: Final = ("type", "mode", "task", "capabilities")
_HINTS: Final[tuple[tuple[str, frozenset[RequestKind]], ...]] = (
    ("embed", _EMBEDDING),
    ("feature-extraction", _EMBEDDING),
    ("sentence-similarity", _EMBEDDING),
    ("chat", LLM_KINDS),
    ("completion", LLM_KINDS),
    ("language", LLM_KINDS),
    ("llm", LLM_KINDS),
    ("vlm", LLM_KINDS),
    ("generat", LLM_KINDS),
    ("rerank", frozenset()),
    ("moderation", frozenset()),
    ("image", frozenset()),
    ("video", frozenset()),
    ("audio", frozenset()),
    ("speech", frozenset()),
    ("transcri", frozenset()),
)
_CONTEXT_FIELDS: Final = ("max_model_len", "context_length", "context_window", "max_context_length")


def read_model_list(body: bytes) -> tuple[ModelCard, ...]:
    """Read a list of models: ``{"data": […]}``, ``{"models": […]}`` or a bare array, of objects or names.

    An entry without a name is left out.

    Raises:
        ValueError: it is no such list.
    """
    value = orjson.loads(body)
    entries = value
    if isinstance(value, dict):
        entries = value["data"] if "data" in value else value.get("models")
    if entries is None and isinstance(value, dict) and "data" in value:
        entries = []
    if not isinstance(entries, list):
        raise ValueError("no list of models")
    cards = [card for entry in entries if (card := _card(entry)) is not None]
    if entries and not cards:
        raise ValueError("no entry of the list has an id")
    return tuple({card.name: card for card in cards}.values())


def card_of_name(name: str) -> ModelCard:
    """Return the card of a model of which no more is known than its name: an LLM, or an embedding model by its name."""
    return ModelCard(name, _EMBEDDING if "embed" in name.lower() else LLM_KINDS)


def _card(entry: Any) -> ModelCard | None:
    if isinstance(entry, str):
        return card_of_name(entry) if entry else None
    name = (entry.get("id") or entry.get("name") or entry.get("model")) if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name:
        return None
    contexts = (entry.get(field) for field in _CONTEXT_FIELDS)
    return ModelCard(
        name=name,
        kinds=_kinds(entry, name),
        max_context_tokens=next((size for size in contexts if isinstance(size, int) and size > 0), 0),
        owned_by=str(entry.get("owned_by") or "unknown"),
        parent=str(entry.get("parent") or ""),
    )


def _kinds(entry: Mapping[str, Any], name: str) -> frozenset[RequestKind]:
    """Return what a model is for: by ``kinds``, a field of SAGE's own, by other servers' hints, or by its name.

    Kinds of work that no engine passes on are left out; a model that has no other serves nothing.
    """
    named = entry.get("kinds")
    if isinstance(named, list):
        return frozenset(KIND_NAMES[kind] for kind in named if kind in KIND_NAMES)
    found = [kinds for word in _words(entry) for part, kinds in _HINTS if part in word]
    return frozenset[RequestKind]().union(*found) if found else card_of_name(name).kinds


def _words(entry: Mapping[str, Any]) -> Iterable[str]:
    for field in _HINT_FIELDS:
        value = entry.get(field)
        if isinstance(value, dict):
            value = [name for name, has in value.items() if has is True]
        for word in value if isinstance(value, list) else [value]:
            if isinstance(word, str):
                yield word.lower()
