"""Ask a question about a folder of documents, through a running mesh (`sage up`).

python examples/ask_documents.py docs "What happens when an engine dies?"
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sage_apps.client_models import ClientModels
from sage_apps.rag import answer_question
from sage_client.client import AsyncUnifiedInferenceClient
from sage_common import paths
from sage_common.errors import SageError


async def ask(folder: Path, question: str) -> None:
    """Print the answer and its sources."""
    async with await AsyncUnifiedInferenceClient.create() as client:
        models = ClientModels(client, from_documents=True)
        answer = await answer_question(question, folder, models, cache_dir=paths.cache_dir())
    sys.stdout.write(f"{answer.text}\n\n")
    for source in answer.sources:
        sys.stdout.write(f"[{source.number}] {source.place} ({source.score:.2f})  {source.excerpt}\n")
    seconds = ", ".join(f"{stage} {spent:.2f} s" for stage, spent in answer.timings.items())
    sys.stdout.write(f"\n{answer.model}; {seconds}; {len(answer.skipped)} files left out\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        asyncio.run(ask(Path(sys.argv[1]), sys.argv[2]))
    except SageError as error:
        sys.exit(error.message)
