"""Every operator there is. A new one is a file beside this one and a line here: the import of its entry."""

# ruff: noqa: F401 - what is imported is what there is.
from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from sage_kernel.nodes import NodeSpec
from sage_kernel.operator_type import OperatorType
from sage_kernel.operators.aggregate import AGGREGATE
from sage_kernel.operators.chunk import CHUNK
from sage_kernel.operators.cluster import CLUSTER
from sage_kernel.operators.embed import EMBED
from sage_kernel.operators.filter import FILTER
from sage_kernel.operators.flat_map import FLAT_MAP
from sage_kernel.operators.index import INDEX
from sage_kernel.operators.join import JOIN
from sage_kernel.operators.key_by import KEY_BY
from sage_kernel.operators.llm import LLM
from sage_kernel.operators.map import MAP
from sage_kernel.operators.reduce import REDUCE
from sage_kernel.operators.rerank import RERANK
from sage_kernel.operators.retrieve import RETRIEVE
from sage_kernel.operators.sink import SINK
from sage_kernel.operators.source import SOURCE
from sage_kernel.operators.union import UNION
from sage_kernel.operators.vote import VOTE
from sage_kernel.operators.window import WINDOW
from sage_kernel.operators.window_join import WINDOW_JOIN

OPERATORS: Mapping[str, OperatorType[Any]] = MappingProxyType(
    {entry.op: entry for entry in list(globals().values()) if isinstance(entry, OperatorType)}
)

if TYPE_CHECKING:
    AnyNode = NodeSpec
else:
    AnyNode = Annotated[Union[tuple(entry.spec for entry in OPERATORS.values())], Field(discriminator="op")]  # noqa: UP007
