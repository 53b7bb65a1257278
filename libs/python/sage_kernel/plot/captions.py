"""What a drawing says about a node, beside its id."""

from __future__ import annotations

from sage_kernel.nodes import NodeSpec

MAX_CHARACTERS = 34


def caption(node: NodeSpec) -> tuple[str, ...]:
    """Return the operator and the parameter that says most about it, each on a line."""
    values = node.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for name in (*node.positional, "tumbling", "sliding", "session", "aggs", "ref", "model"):
        if name in values and name != "id":
            return (node.op, shortened(_text(values[name])))
    if "records" in values:
        return (node.op, f"{len(values['records'])} records")
    return (node.op,)


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(inner)}" for name, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def shortened(text: str) -> str:
    """Return ``text`` on one line, cut to what fits into a box."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= MAX_CHARACTERS else f"{line[: MAX_CHARACTERS - 1]}…"
