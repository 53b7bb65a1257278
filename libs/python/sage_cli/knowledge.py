"""What commands about knowledge bases share: models reached, progress shown, passages written out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage_kernel.model_port import ModelPort
    from sage_middleware.knowledge.collection import Collection
    from sage_middleware.knowledge.ingest_report import IngestReport
    from sage_middleware.knowledge.retrieval import SearchMode


def search_mode(name: str) -> SearchMode:
    """Return the mode of a name. Raises InvalidRequestError: there is none."""
    from sage_common.config import nearest
    from sage_common.errors import InvalidRequestError
    from sage_middleware.knowledge.retrieval import SearchMode

    modes = [mode.value for mode in SearchMode]
    if name not in modes:
        raise InvalidRequestError(f"there is no mode {name!r}{nearest(name, modes)}; take one of {', '.join(modes)}")
    return SearchMode(name)


@asynccontextmanager
async def with_models(url: str | None) -> AsyncIterator[ModelPort]:
    """Reach models through the mesh; a wait for it is shown."""
    from sage_apps.client_models import ClientModels
    from sage_cli.target import client_target
    from sage_cli.waiting import waiting
    from sage_client.client import AsyncUnifiedInferenceClient

    target = client_target(url)
    with waiting() as display:
        opening = AsyncUnifiedInferenceClient.create(target.url, api_key=target.api_key, on_wait=display.show)
        async with await opening as client:
            yield ClientModels(client, from_documents=True)


async def ingest_with_progress(
    collection: Collection, folder: Path, models: ModelPort, metadata: Mapping[str, Any]
) -> IngestReport:
    """Ingest with a bar on the terminal."""
    from sage_middleware.knowledge.ingest import ingest

    with ingest_bar() as show:
        return await ingest(collection, folder, models, on_progress=show, metadata=metadata)


class ingest_bar:  # noqa: N801 - used as a function is.
    """Shows how far an ingest has come, as a context manager that gives what takes its reports."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        from sage_cli.consoles import notes

        doing = TextColumn("{task.description}")
        columns = (SpinnerColumn(), doing, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=notes(), transient=True)
        self._task = self._progress.add_task("reading", total=None)

    def __enter__(self) -> Any:
        self._progress.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _show(self, report: IngestReport) -> None:
        done = report.stored + report.unchanged + report.moved
        self._progress.update(
            self._task, description=f"{report.embedded} passages embedded", completed=done, total=report.files or None
        )
