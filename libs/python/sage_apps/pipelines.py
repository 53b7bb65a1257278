"""Pipelines that can be run from Python: on this machine, on the mesh, or on Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import Any

from sage_common.config import nearest
from sage_common.errors import InvalidRequestError, UnimplementedError
from sage_kernel import builder
from sage_kernel.runtime.progress import RunResult
from sage_kernel.spec import PipelineSpec

# By runner, the module whose ``run(spec, **options)`` runs a pipeline there; imported when it is first used.
RUNNERS: Mapping[str, str] = {
    "local": "sage_apps.local_runs",
    "mesh": "sage_apps.mesh_runs",
    "ray": "sage_apps.ray_runs",
}


class Pipeline(builder.Pipeline):
    """A pipeline under construction, which ``run`` runs: ``local``, on the ``mesh``, or on ``ray``."""

    def run(self, runner: str = "local", **options: Any) -> RunResult:
        """Run to the end and return the result.

        Args:
            runner: ``local`` in this process, ``mesh`` as a job of the dataflow workers, ``ray`` on Ray Data.
            options: of the runner; see its module.

        Raises:
            PipelineInvalidError: with all of its errors.
            InvalidRequestError: no such runner, or this is called where an event loop runs.
            NodeFailedError: a node failed.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.run_async(runner, **options))
        raise InvalidRequestError("an event loop runs here; write 'await pipeline.run_async(…)'")

    async def run_async(self, runner: str = "local", **options: Any) -> RunResult:
        """Run to the end and return the result. Cancel the task to stop it. Raises as ``run`` does."""
        return await run_spec(self.build(), runner, **options)


async def run_spec(spec: PipelineSpec, runner: str = "local", **options: Any) -> RunResult:
    """Run a pipeline that is data already. Raises as ``Pipeline.run`` does."""
    if runner not in RUNNERS:
        raise InvalidRequestError(f"there is no runner {runner!r}{nearest(runner, list(RUNNERS))}")
    return await _runs(runner)(spec, **options)


def _runs(runner: str) -> Callable[..., Awaitable[RunResult]]:
    try:
        run: Callable[[PipelineSpec], Awaitable[RunResult]] = import_module(RUNNERS[runner]).run
    except ImportError as error:
        remedy = "pip install 'sage-mesh[ray]'" if runner == "ray" else "install the package that has it"
        raise UnimplementedError(f"the runner {runner!r} is not installed here ({error}); {remedy}") from None
    return run
