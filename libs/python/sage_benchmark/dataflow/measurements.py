"""Every measurement there is. A new one is a function of a file beside this one and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from sage_benchmark.dataflow.checkpoints import checkpoints
from sage_benchmark.dataflow.event_time import interval_join, session, sliding, stateless, tumbling, tumbling_jsonl
from sage_benchmark.dataflow.kills import kills
from sage_benchmark.dataflow.measurement import Measurement
from sage_benchmark.dataflow.mesh_jobs import mesh_jobs
from sage_benchmark.dataflow.model_calls import model_calls
from sage_benchmark.dataflow.nats_rates import nats_source
from sage_benchmark.dataflow.nexmark_rates import nexmark

MEASUREMENTS: Mapping[str, Measurement] = {
    "tumbling": tumbling,
    "sliding": sliding,
    "session": session,
    "interval-join": interval_join,
    "tumbling-jsonl": tumbling_jsonl,
    "stateless": stateless,
    "checkpoints": checkpoints,
    "nats-source": nats_source,
    "nexmark": nexmark,
    "kills": kills,
    "model-calls": model_calls,
    "mesh-jobs": mesh_jobs,
}
