"""The program that is killed: windows and a model over a stream, with checkpoints; ``python -m`` with a folder."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from sage_common.errors import InternalError
from sage_kernel.model_port import ChatText, Embeddings, Ranking
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.spec import PipelineSpec
from sage_kernel.state.file_checkpoints import FileCheckpoints
from sage_kernel.validation import from_dict

CONCURRENCY = 64
_ANSWER_SECONDS = 0.005


class CountedModel:
    """Answers a prompt with a fixed text of it. Each call writes one byte to a file that outlives the process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        **options: Any,
    ) -> ChatText:
        """Return the answer."""
        os.write(self._file, b".")
        await asyncio.sleep(_ANSWER_SECONDS)
        return ChatText(f"answer to {messages[-1]['content']}", "fixed")

    async def embed(self, texts: Sequence[str], model: str | None = None, **options: Any) -> Embeddings:
        """Refuse: nothing here embeds."""
        raise InternalError("this model only answers")

    async def rank(self, query: str, documents: Sequence[str], model: str | None = None, **options: Any) -> Ranking:
        """Refuse: nothing here ranks."""
        raise InternalError("this model only answers")


def pipeline(source: str, folder: Path) -> PipelineSpec:
    """Return the pipeline: each record gets an answer, answers are counted in windows by key."""
    return from_dict(
        {
            "apiVersion": "sage/v1",
            "kind": "Pipeline",
            "metadata": {"name": "killed"},
            "settings": {"checkpoint_interval": "200ms"},
            "nodes": {
                "events": {"op": "source", "uri": source, "event_time": "ts", "lateness": "5s"},
                "some": {"op": "filter", "in": "events", "where": "k % 10 <> 0"},
                "answers": {"op": "llm", "in": "some", "prompt": "{id}", "concurrency": CONCURRENCY},
                "told": {"op": "sink", "in": "answers", "uri": f"jsonl:{folder / 'answers.jsonl'}"},
                "keyed": {"op": "key_by", "in": "answers", "fields": ["k"]},
                "minutes": {"op": "window", "in": "keyed", "tumbling": "10s"},
                "sums": {"op": "aggregate", "in": "minutes", "aggs": {"n": "count()", "total": "sum(amount)"}},
                "windows": {"op": "sink", "in": "sums", "uri": f"jsonl:{folder / 'windows.jsonl'}"},
                "collected": {"op": "sink", "in": "sums", "uri": "collection:windows"},
            },
        }
    )


async def main(source: str, folder: Path) -> None:
    """Run it to the end, from its last checkpoint if it has one."""
    runner = LocalRunner(CountedModel(folder / "calls"), cache_dir=folder / "cache")
    print("running", flush=True)
    result = await runner.run(pipeline(source, folder), None, FileCheckpoints(folder / "checkpoints"))
    collected = sorted(orjson.dumps(record, option=orjson.OPT_SORT_KEYS) for record in result.collections["windows"])
    (folder / "collection.jsonl").write_bytes(b"\n".join(collected))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
