"""What the place where a pipeline is to run offers, and what a pipeline asks of it in vain."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from sage_common.errors import InvalidRequestError, PermissionDeniedError
from sage_kernel.functions import FunctionRegistry
from sage_kernel.host_access import ANY_HOST, HostAccess
from sage_kernel.nodes import NodeSpec, Producer
from sage_kernel.problems import Problem, Suggestions
from sage_kernel.stream_type import StreamType
from sage_kernel.type_inference import infer_types

RunnerName = Literal["local", "mesh", "ray"]
RUNNER_NAMES: tuple[RunnerName, ...] = ("local", "mesh", "ray")


@dataclass(frozen=True)
class RunTarget:
    """What is not known is None, and not checked.

    Attributes:
        runner: which runner it is.
        functions: the functions that a pipeline may name.
        models: the models that are served.
        hosts: which hosts a pipeline may talk to over HTTP; no name is resolved.
    """

    runner: RunnerName | None = None
    functions: FunctionRegistry | None = None
    models: Collection[str] | None = None
    hosts: HostAccess = ANY_HOST


ANY_TARGET = RunTarget()


def target_problems(
    nodes: Mapping[str, NodeSpec | None], target: RunTarget, suggestions: Suggestions
) -> Iterator[Problem]:
    """Yield what the target lacks of what the nodes need."""
    for node_id, node in nodes.items():
        if node is None:
            continue
        if target.runner is not None and target.runner not in node.runners:
            message = f"the runner {target.runner!r} cannot run a {node.op}"
            yield Problem(node_id, "op", message, f"use {' or '.join(sorted(node.runners))}")
        if target.runner == "ray" and node.knowledge is not None:
            message = f"Ray's workers may be on machines that have not the file of kb:{node.knowledge}"
            yield Problem(node_id, "uri" if node.op == "sink" else "index", message, "use the runner 'local' or 'mesh'")
        yield from _functions(node_id, node, target)
        yield from _hosts(node_id, node, target.hosts)
        model = getattr(node, "model", None)
        if node.calls_model and isinstance(model, str) and target.models is not None and model not in target.models:
            message = f"no engine serves the model {model!r}{suggestions.nearest(model, target.models)}"
            yield Problem(node_id, "model", message, "name one of `sage models`, or register an engine that serves it")


def unbounded_sources(nodes: Mapping[str, NodeSpec]) -> list[Problem]:
    """Return what keeps a pipeline from running where everything has to end: on Ray."""
    types, _ = infer_types(nodes)
    return [
        Problem(node_id, "uri", "the source never ends, and Ray runs to an end", "use the runner 'local' or 'mesh'")
        for node_id, node in nodes.items()
        if not node.takes_input and not types.get(Producer(node_id, ""), StreamType()).is_bounded
    ]


def _functions(node_id: str, node: NodeSpec, target: RunTarget) -> Iterator[Problem]:
    for parameter, function in node.user_functions():
        if not isinstance(function, str):
            if target.runner == "mesh":
                message = "it is a function of this process, which a worker of the mesh does not have"
                yield Problem(node_id, parameter, message, "put it into a module and name it package.module:name")
        elif target.functions is not None:
            try:
                target.functions.check(function)
            except (InvalidRequestError, PermissionDeniedError) as error:
                message, _, remedy = error.message.rpartition("; ")
                yield Problem(node_id, parameter, message, remedy)


def _hosts(node_id: str, node: NodeSpec, hosts: HostAccess) -> Iterator[Problem]:
    for parameter, url in node.urls():
        try:
            hosts.check(url)
        except (InvalidRequestError, PermissionDeniedError) as error:
            message, _, remedy = error.message.rpartition("; ")
            yield Problem(node_id, parameter, message, remedy)
