"""A pipeline's graph as an SVG picture, without a program to draw it."""

from __future__ import annotations

from xml.sax.saxutils import escape

from sage_kernel.nodes import NodeSpec
from sage_kernel.plot.captions import MAX_CHARACTERS, caption, shortened
from sage_kernel.plot.layers import Place, edges, places
from sage_kernel.spec import PipelineSpec

_CHARACTER = 6.6
_LINE = 16
_PADDING = 10
_BETWEEN_LAYERS = 56
_BETWEEN_ROWS = 24
_BOX_HEIGHT = 3 * _LINE + 2 * _PADDING - 4
_STYLE = """
text { font: 11px ui-monospace, Menlo, Consolas, monospace; fill: #1f2933; }
.id { font-weight: bold; } .op { fill: #52606d; } .port { fill: #9b1c1c; }
rect { fill: #f5f7fa; stroke: #7b8794; rx: 6; } .source { fill: #e3f8ff; } .sink { fill: #e3f9e5; }
.model { fill: #fffbea; }
path { fill: none; stroke: #52606d; marker-end: url(#arrow); } .waits { stroke-dasharray: 4 3; }
@media (prefers-color-scheme: dark) { text { fill: #f5f7fa; } .op { fill: #cbd2d9; } .port { fill: #ff9b9b; }
rect { fill: #323f4b; stroke: #9aa5b1; } .source { fill: #0b4f6c; } .sink { fill: #1d5c3a; } .model { fill: #5c4a11; }
path { stroke: #cbd2d9; } }
"""


def svg(spec: PipelineSpec) -> str:
    """Return the picture: records flow from left to right; a dashed arrow ends at who waits for the whole of it."""
    where = places(spec.nodes)
    texts = {node_id: (shortened(node_id), *caption(node)) for node_id, node in spec.nodes.items()}
    widths: dict[int, float] = {}
    for node_id, place in where.items():
        longest = max(min(len(line), MAX_CHARACTERS) for line in texts[node_id])
        widths[place.layer] = max(widths.get(place.layer, 0.0), longest * _CHARACTER + 2 * _PADDING)
    lefts = [_PADDING + sum(widths[before] + _BETWEEN_LAYERS for before in range(layer)) for layer in sorted(widths)]
    most_rows = 1 + max((place.row for place in where.values()), default=0)
    width = lefts[-1] + widths[max(widths)] + _PADDING if lefts else 2 * _PADDING
    height = most_rows * (_BOX_HEIGHT + _BETWEEN_ROWS) - _BETWEEN_ROWS + 2 * _PADDING
    counts: dict[int, int] = {}
    for place in where.values():
        counts[place.layer] = counts.get(place.layer, 0) + 1

    def corner(place: Place) -> tuple[float, float]:
        # Layers with fewer nodes stand in the middle.
        free = (most_rows - counts[place.layer]) * (_BOX_HEIGHT + _BETWEEN_ROWS) / 2
        return lefts[place.layer], _PADDING + free + place.row * (_BOX_HEIGHT + _BETWEEN_ROWS)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
        f"<title>{escape(spec.metadata.name)}, version {spec.metadata.version}</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0,0 L8,4 L0,8 z" style="fill:#52606d;stroke:none;marker-end:none"/></marker></defs>',
    ]
    for edge in edges(spec.nodes):
        left, top = corner(where[edge.start])
        start_x, start_y = left + widths[where[edge.start].layer], top + _BOX_HEIGHT / 2
        end_x, end_top = corner(where[edge.end])
        end_y = end_top + _BOX_HEIGHT / 2
        bend = max(_BETWEEN_LAYERS / 2, (end_x - start_x) / 2)
        style = ' class="waits"' if edge.waits else ""
        parts.append(
            f'<path{style} d="M{start_x:.1f},{start_y:.1f} C{start_x + bend:.1f},{start_y:.1f} '
            f'{end_x - bend:.1f},{end_y:.1f} {end_x:.1f},{end_y:.1f}"/>'
        )
        if edge.label:
            parts.append(f'<text class="port" x="{start_x + 4:.1f}" y="{start_y - 5:.1f}">{escape(edge.label)}</text>')
    for node_id, node in spec.nodes.items():
        left, top = corner(where[node_id])
        box_width = widths[where[node_id].layer]
        parts.append(
            f'<rect class="{_kind(node)}" x="{left:.1f}" y="{top:.1f}" width="{box_width:.1f}" '
            f'height="{_BOX_HEIGHT}" rx="6"/>'
        )
        for number, line in enumerate(texts[node_id]):
            style = "id" if number == 0 else "op"
            baseline = top + _PADDING + 10 + number * _LINE
            parts.append(f'<text class="{style}" x="{left + _PADDING:.1f}" y="{baseline:.1f}">{escape(line)}</text>')
    return "\n".join((*parts, "</svg>\n"))


def _kind(node: NodeSpec) -> str:
    if not node.takes_input:
        return "source"
    if not node.gives_output:
        return "sink"
    return "model" if node.calls_model else "step"
