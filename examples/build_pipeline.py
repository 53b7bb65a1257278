"""Build a pipeline in Python, check it, and print its YAML, which is the same pipeline:

python examples/build_pipeline.py > summaries.yaml
"""

from __future__ import annotations

import sys

import sage

pipeline = sage.Pipeline("summaries", version=1)
notes = pipeline.source(
    records=[{"id": "ring", "text": "A request travels one way round a ring. Nobody waits."}], id="notes"
)
summary = notes.llm("{text}\n\nQuestion: What is the main point?", id="summary", into="summary", on_error="dlq")
summary.sink("collection:summaries", id="out", fields=["id", "summary"])

if problems := pipeline.validate():
    sys.exit("\n".join(str(problem) for problem in problems))
sys.stdout.write(pipeline.to_yaml())
