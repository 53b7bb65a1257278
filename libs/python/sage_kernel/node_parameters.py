"""What a call of the builder says about one node: values by position and by name, Python's classes and functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from sage_common.errors import InvalidRequestError
from sage_kernel.nodes import NodeSpec
from sage_kernel.record_classes import is_record_class, schema_of


@runtime_checkable
class Sugar(Protocol):
    """A value that stands for several parameters, such as ``Tumbling("1m")``."""

    def parameters(self) -> Mapping[str, Any]:
        """Return them."""
        ...


class NodeParameters:
    """Collects the parameters of a node.

    Attributes:
        parameters: by the name that they have in YAML.
        node_id: the node's id; None where the call gives none.
    """

    def __init__(self, op: str, spec: type[NodeSpec]) -> None:
        self._op = op
        self._spec = spec
        self._names = {field.alias or name for name, field in spec.model_fields.items()}
        self._left = list(spec.positional)
        self._taken = 0
        self.parameters: dict[str, Any] = {}
        self.node_id: str | None = None

    def take(self, value: Any) -> None:
        """Take a value by position: a function for ``ref``, what stands for several parameters, or the next one.

        Raises:
            InvalidRequestError: there are more than the operator takes.
        """
        self._taken += 1
        if isinstance(value, Sugar) and not isinstance(value, type):
            for name, parameter in value.parameters().items():
                self.set(name, parameter)
        elif callable(value) and not isinstance(value, type) and "ref" in self._names:
            self.set("ref", value)
        elif self._left:
            self.set(self._left.pop(0), value)
        elif self._spec.takes_many and self._spec.positional:
            name = self._spec.positional[-1]
            before = self.parameters[name]
            self.parameters[name] = [*(before if isinstance(before, list) else [before]), value]
        else:
            raise InvalidRequestError(
                f"{self._op} takes {len(self._spec.positional)} values by position, got {self._taken}; name the others"
            )

    def set(self, name: str, value: Any) -> None:
        """Set a parameter by name. Raises InvalidRequestError where it was given already."""
        if name == "node_id" or (name == "id" and not self._is_own_id(value)):
            if self.node_id is not None:
                raise InvalidRequestError(f"{self._op} got 'id' by position and by name; give it once")
            self.node_id = value
            return
        into = self._spec.keywords_into
        if into is not None and name not in self._names:
            self.parameters.setdefault(into, {})[name] = value
            return
        if name in self.parameters:
            raise InvalidRequestError(f"{self._op} got {name!r} by position and by name; give it once")
        self.parameters[name] = schema_of(value) if is_record_class(value) else value

    def _is_own_id(self, value: Any) -> bool:
        """Whether ``id`` is the operator's parameter: that is a template of records' ids, and no node has braces."""
        return "id" in self._names and "{" in str(value)
