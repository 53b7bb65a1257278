"""A pipeline's graph as Mermaid text, which Markdown pages render."""

from __future__ import annotations

from sage_kernel.plot.captions import caption
from sage_kernel.plot.layers import edges
from sage_kernel.spec import PipelineSpec


def mermaid(spec: PipelineSpec) -> str:
    """Return the text of a flow chart."""
    names = {node_id: f"n{number}" for number, node_id in enumerate(spec.nodes)}
    lines = ["flowchart LR"]
    for node_id, node in spec.nodes.items():
        text = "<br/>".join(_escaped(line) for line in (node_id, *caption(node)))
        opening, closing = ("([", "])") if not (node.takes_input and node.gives_output) else ("[", "]")
        lines.append(f'  {names[node_id]}{opening}"{text}"{closing}')
    for edge in edges(spec.nodes):
        arrow = "-.->" if edge.waits else f"-- {edge.label} -->" if edge.label else "-->"
        lines.append(f"  {names[edge.start]} {arrow} {names[edge.end]}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    # "#" first: it begins the names of the others.
    for character, name in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("`", "#96;")):
        text = text.replace(character, name)
    return text
