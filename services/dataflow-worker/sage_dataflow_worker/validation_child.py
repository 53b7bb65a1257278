"""What reads pipelines for a worker, in a process of its own: ``python -m sage_dataflow_worker.validation_process``.

A pipeline may come from anyone on the network, and whatever it does to the reader it does to this process, which can be
killed, as a thread cannot. Messages both ways are a length (4 bytes, big-endian) and that many bytes of JSON; a request
has the pipeline's bytes in place of JSON. The first message, ``{}``, says that the imports are done.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import IO, Any

import orjson
import polars as pl
import psutil

from sage_kernel.expressions import parse, type_of
from sage_kernel.file_access import FileAccess
from sage_kernel.functions import FunctionRegistry
from sage_kernel.host_access import HostAccess
from sage_kernel.problems import PipelineInvalidError, Problem
from sage_kernel.run_target import ANY_TARGET, RunTarget
from sage_kernel.validation import from_yaml

LENGTH = struct.Struct(">I")
# What a pipeline may take to be read, beside what the imports have taken.
MEMORY_BYTES = 1024 * 1024 * 1024


def read_pipeline(data: bytes, files: FileAccess, target: RunTarget = ANY_TARGET) -> dict[str, Any]:
    """Return a pipeline as a message.

    It is ``{"problems": [[node, field, message, remedy], …]}``, or ``{"spec": …, "records": {node: […]}, "hash": …}``
    with the records of sources apart: they are most of a large pipeline, and need no validation again.
    """
    try:
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            problem = Problem("", "", f"it is not UTF-8 text (byte {error.start})", "publish YAML or JSON as UTF-8")
            raise PipelineInvalidError([problem]) from None
        spec = from_yaml(text, files, target)
    except PipelineInvalidError as error:
        return {"problems": [[p.node, p.field, p.message, p.remedy] for p in map(Problem.shortened, error.problems)]}
    value = spec.to_dict()
    records = {node_id: node["records"] for node_id, node in value["nodes"].items() if node.get("records")}
    for node_id in records:
        value["nodes"][node_id]["records"] = []
    return {"spec": value, "records": records, "hash": spec.spec_hash}


def main() -> None:
    """Answer requests until standard input ends."""
    given = orjson.loads(sys.argv[1])
    roots = given["roots"]
    files = FileAccess(None if roots is None else tuple(map(Path, roots)), setting=given["setting"])
    functions = FunctionRegistry(tuple(given["functions"]), given["functions_setting"])
    hosts = HostAccess(None if given["hosts"] is None else tuple(given["hosts"]), given["hosts_setting"])
    target = RunTarget("mesh", functions, hosts=hosts)
    # Polars starts its threads at the first expression: what they take is not the pipeline's.
    type_of(parse("a + 1"), {"a": pl.Int64()})
    with contextlib.suppress(ValueError, OSError):
        used = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, resource.RLIM_INFINITY))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    _send(answers, {})
    while header := requests.read(LENGTH.size):
        data = requests.read(*LENGTH.unpack(header))
        # SIGPROF ends this process when it has used so much processor time, in Rust and C as in Python.
        signal.setitimer(signal.ITIMER_PROF, given["processor_seconds"])
        answer = read_pipeline(data, files, target)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(answers, answer)


def _send(answers: IO[bytes], message: dict[str, Any]) -> None:
    data = orjson.dumps(message)
    answers.write(LENGTH.pack(len(data)) + data)
    answers.flush()
