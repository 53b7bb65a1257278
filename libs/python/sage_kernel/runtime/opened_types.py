"""The types of sources that do not state their fields: read off their first records, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from sage_kernel.nodes import NodeSpec, Producer
from sage_kernel.operator import AnyOperator, DiscoveringSource, Source
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.problems import NodeFailedError
from sage_kernel.run_context import RunContext
from sage_kernel.stream_type import StreamType
from sage_kernel.type_inference import infer_types


async def opened_types(
    nodes: Mapping[str, NodeSpec], context: RunContext, replaced: Mapping[str, AnyOperator] = MappingProxyType({})
) -> tuple[dict[str, StreamType], dict[str, Source]]:
    """Return by node id the types of the sources that were open, and those sources, opened.

    Args:
        replaced: operators that take the place of a node's own.

    Raises:
        NodeFailedError: a source cannot be opened.
    """
    types, _ = infer_types(nodes)
    opened: dict[str, StreamType] = {}
    sources: dict[str, Source] = {}
    for node_id, node in nodes.items():
        stated = types[Producer(node_id, "")]
        if node.takes_input or not stated.is_open:
            continue
        try:
            source = replaced.get(node_id) or OPERATORS[node.op].build(node_id, node, context, ())
            if isinstance(source, DiscoveringSource):
                sources[node_id] = source
                opened[node_id] = replace(stated, fields=await source.discover(), is_open=False)
        except Exception as error:
            raise NodeFailedError(node_id, node.op, error) from error
    return opened, sources
