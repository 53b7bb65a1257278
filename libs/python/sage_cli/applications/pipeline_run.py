"""Running an application's pipeline for a command: in this process or as a job, with its records as they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sage_kernel.runtime.progress import RunResult
    from sage_kernel.spec import PipelineSpec

RUNNERS = ("local", "mesh")
# Records of each kind that are kept for what is printed at the end.
MOST_KEPT = 10_000


async def run_application(
    spec: PipelineSpec, runner: str, url: str | None, on_records: Callable[[str, list[dict[str, Any]]], None]
) -> RunResult:
    """Run to the end. Says on stderr for whom it waits, and which job it is.

    Args:
        on_records: gets a collection and records that came into it, as they come.

    Raises:
        InvalidRequestError: no such runner.
        SageError: as ``sage_apps.pipelines.run_spec``.
    """
    from sage_apps.pipelines import run_spec
    from sage_cli.consoles import notes
    from sage_cli.target import client_target
    from sage_cli.waiting import waiting
    from sage_common.config import nearest
    from sage_common.errors import InvalidRequestError

    if runner not in RUNNERS:
        raise InvalidRequestError(f"there is no runner {runner!r} here{nearest(runner, RUNNERS)}; use local or mesh")
    target = client_target(url)
    # The boards keep what is shown; a stream without end would fill the memory with the rest.
    options: dict[str, Any] = {"target": target.url, "api_key": target.api_key, "collects": False}
    if runner == "mesh":
        say = notes()
        options["on_submit"] = lambda job: say.print(
            f"job {job.job_id}; `sage job watch {job.job_id}` follows it", markup=False, style="dim"
        )
    with waiting() as display:

        def show(collection: str, records: list[dict[str, Any]]) -> None:
            # What is printed must not meet the spinner on its line.
            display.end()
            on_records(collection, records)

        options["on_records"] = show
        return await run_spec(spec, runner, on_wait=display.show, **options)


def say_outcome(result: RunResult, counts: str) -> None:
    """Say on stderr what was counted, how long it took, and why records failed where any did."""
    from sage_cli.consoles import notes

    say = notes()
    say.print(f"{counts}, {result.seconds:.1f} s", markup=False, style="dim")
    if result.dead_letters:
        first = result.dead_letters[0]
        count = len(result.dead_letters)
        say.print(f"{count} failed, the first at {first.node!r}: {first.error}", markup=False, style="yellow")


def counted(count: int, noun: str) -> str:
    """Return ``1 ticket`` or ``2 tickets``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
