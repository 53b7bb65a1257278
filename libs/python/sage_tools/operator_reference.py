"""The operators' part of docs/pipelines.md, from their specs: ``python -m sage_tools.operator_reference``."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from sage_kernel.nodes import NodeSpec
from sage_kernel.operators.registry import OPERATORS

BEGIN = "<!-- operators: begin, written by python -m sage_tools.operator_reference -->"
END = "<!-- operators: end -->"
_ORDER = (
    "source", "map", "filter", "flat_map", "key_by", "union", "join", "window_join", "cluster", "window",
    "aggregate", "reduce", "chunk",
)  # fmt: skip
_WIDTH = 120


def reference() -> str:
    """Return the Markdown of every operator, and of what all of them have."""
    listed = [op for op in _ORDER if op in OPERATORS]
    others = [op for op in OPERATORS if op not in listed and op != "sink"]
    sections = [_section(op, OPERATORS[op].spec) for op in (*listed, *others, "sink")]
    common = _table(NodeSpec, [name for name in NodeSpec.model_fields if name != "op"])
    return "\n\n".join([*sections, f"### Of every operator\n\n{common}"])


def rewritten(page: str) -> str:
    """Return the page with the reference between its marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{reference()}\n\n{END}{after}"


def _section(op: str, spec: type[NodeSpec]) -> str:
    intro = _plain((inspect.getdoc(spec) or "").split("Attributes:")[0])
    wrapped = "\n".join(textwrap.wrap(intro, _WIDTH, break_on_hyphens=False, break_long_words=False))
    own = [name for name in spec.model_fields if name not in NodeSpec.model_fields]
    return f"### {op}\n\n{wrapped}" + (f"\n\n{_table(spec, own)}" if own else "")


def _table(spec: type[NodeSpec], names: list[str]) -> str:
    meanings: dict[str, str] = {}
    for base in reversed(spec.__mro__):
        if issubclass(base, NodeSpec):
            meanings |= _attributes(inspect.getdoc(base) or "")
    rows = [
        f"| `{spec.model_fields[name].alias or name}` | {_default(spec, name, spec.model_fields[name])} | "
        f"{meanings.get(name, '').replace('|', '&#124;')} |"
        for name in names
    ]
    return "\n".join(["| parameter | default | meaning |", "|---|---|---|", *rows])


def _attributes(docstring: str) -> dict[str, str]:
    """Return the meanings of a docstring's section ``Attributes`` by name."""
    _, _, section = docstring.partition("Attributes:\n")
    found = re.findall(r"^    (\w[\w, ]*): (.*?)(?=^    \w|\Z)", section, re.DOTALL | re.MULTILINE)
    return {name: _plain(text) for names, text in found for name in names.split(", ")}


def _default(spec: type[NodeSpec], name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), {}, ""):
        return ""
    (written,) = spec.model_construct(**{name: value}).model_dump(mode="json", include={name}).values()
    return f"`{_json(written)}`"


def _json(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


def main() -> None:
    """Write the page, or with ``--check`` say whether it is stale."""
    given = [argument for argument in sys.argv[1:] if argument != "--check"]
    target = Path(given[0] if given else "docs/pipelines.md")
    text = target.read_text(encoding="utf-8")
    if "--check" not in sys.argv:
        target.write_text(rewritten(text), encoding="utf-8")
    elif rewritten(text) != text:
        raise SystemExit(f"{target} is stale; run python -m sage_tools.operator_reference")


if __name__ == "__main__":
    main()
