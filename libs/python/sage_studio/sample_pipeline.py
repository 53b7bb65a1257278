"""A pipeline made safe to try: nothing leaves it, and the records at every node can be read.

Each sink gives way to a collection of the job, and every node whose records a sink can take gets one beside it. It runs
on the mesh as any job does, with what its workers may read; only what it would write outside is left out.
"""

from __future__ import annotations

from typing import Any

import yaml

from sage_kernel.problems import PipelineInvalidError
from sage_kernel.run_target import RunTarget
from sage_kernel.validation import from_dict

TAP = "at_{}"
# Of the collections that have the records of a node.
PREFIX = "at-"
MOST_RECORDS = 20
MESH = RunTarget("mesh")


def sampled(text: str, most_records: int = MOST_RECORDS) -> tuple[str, dict[str, str]]:
    """Return the pipeline to run, and the collection that has the records of each node.

    Args:
        text: a pipeline that is valid.
        most_records: of a source that has its records in the text; other sources are read as they are.

    Raises:
        PipelineInvalidError: it is not valid.
    """
    value: dict[str, Any] = yaml.safe_load(text)
    from_dict(value, target=MESH)
    nodes: dict[str, dict[str, Any]] = {}
    for name, node in value["nodes"].items():
        if node["op"] == "sink":
            continue
        nodes[name] = dict(node)
        if isinstance(node.get("records"), list):
            nodes[name]["records"] = node["records"][:most_records]
        if str(node.get("uri", "")).startswith("nats:"):
            # It would never end.
            nodes[name]["bounded"] = True
    metadata = {**value["metadata"], "name": f"{value['metadata']['name']}-sample"[:63]}
    made: dict[str, Any] = {**value, "metadata": metadata, "nodes": nodes}
    collections: dict[str, str] = {}
    for name in list(nodes):
        collection = f"{PREFIX}{name}"
        tap = {"op": "sink", "in": [name], "uri": f"collection:{collection}"}
        wanted = {**made, "nodes": {**made["nodes"], TAP.format(name): tap}}
        if _is_valid_but_for_ends(wanted):
            made = wanted
            collections[name] = collection
    from_dict(made, target=MESH)
    return yaml.safe_dump(made, sort_keys=False, allow_unicode=True), collections


def _is_valid_but_for_ends(value: dict[str, Any]) -> bool:
    """Whether a pipeline is valid, where nodes whose records nobody takes yet are none of its faults."""
    taken = {source.partition(".")[0] for node in value["nodes"].values() for source in node.get("in", ())}
    open_ends = {name for name, node in value["nodes"].items() if name not in taken and node["op"] != "sink"}
    try:
        from_dict(value, target=MESH)
    except PipelineInvalidError as error:
        return all(problem.node in open_ends for problem in error.problems)
    return True
