"""Options that the benchmarks under load share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from sage_benchmark.live.comparison import ComparisonPlan
    from sage_benchmark.report.benchmark_report import BenchmarkReport

QUICK_SECONDS = 20.0
LOAD = 1.3


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What is run, how often, and where the report goes. Each field is an option of every command that takes it."""

    engines: Annotated[int, typer.Option(min=1, help="Simulated engines.")] = 3
    seconds: Annotated[float, typer.Option(min=1, help="Time in which requests arrive, in each run.")] = 60.0
    load: Annotated[
        list[float],
        typer.Option(
            min=0.01,
            help="Offered load, as a multiple of what saturates the engines; given several times, each is run and "
            "charts show figures against load.",
        ),
    ] = field(default_factory=lambda: [LOAD])
    cv: Annotated[
        float, typer.Option(min=0.01, help="Variation of the gaps between arrivals: 1 is Poisson, 3 is bursty.")
    ] = 1.0
    repetitions: Annotated[
        int, typer.Option("--repetitions", "-n", min=1, help="Runs of each, with a seed of its own.")
    ] = 3
    seed: Annotated[int, typer.Option(help="First seed; repetitions take the next ones.")] = 1
    tenants: Annotated[int, typer.Option(min=1, help="Tenants that share the load equally.")] = 3
    trace: Annotated[
        Path | None,
        typer.Option(help="CSV of arrival time, input tokens, output tokens to play instead of the mixed load."),
    ] = None
    greedy: Annotated[bool, typer.Option("--greedy-tenant", help="The first tenant offers ten times its share.")] = (
        False
    )
    shared_prefixes: Annotated[
        bool,
        typer.Option(
            "--shared-prefixes",
            help="Most chats and completions begin with one of their tenant's long system prompts; the last policy is "
            "run once more without affinity to where they are cached.",
        ),
    ] = False
    fault: Annotated[str, typer.Option(help="After a third of each run one engine gets `slow` (5×) or `die`s.")] = ""
    quick: Annotated[bool, typer.Option("--quick", help="One run of at most 20 s each, for a first look.")] = False
    output_directory: Annotated[Path, typer.Option("--output", "-o", help="Where the folder of the report goes.")] = (
        Path("bench-results")
    )
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False

    def plan(self) -> ComparisonPlan:
        """Make the plan of a benchmark.

        Raises:
            InvalidRequestError: no such fault, or tenants or prompts in a trace, which names none.
        """
        from sage_benchmark.live.comparison import ComparisonPlan
        from sage_benchmark.workload.engine_fault import EngineFault, FaultKind
        from sage_benchmark.workload.load_settings import LoadSettings
        from sage_benchmark.workload.mixed_load import SharedPrefixes
        from sage_common.errors import InvalidRequestError

        seconds, repetitions = self.seconds, self.repetitions
        if self.quick:
            seconds, repetitions = min(seconds, QUICK_SECONDS), 1
        for given, option in ((self.greedy, "--greedy-tenant"), (self.shared_prefixes, "--shared-prefixes")):
            if self.trace is not None and given:
                raise InvalidRequestError(f"{option} and --trace exclude each other: a trace has no tenants or texts")
        if self.fault and self.fault not in {kind.value for kind in FaultKind}:
            known = ", ".join(kind.value for kind in FaultKind)
            raise InvalidRequestError(f"no fault is called {self.fault!r}; known: {known}", param="fault")
        prefixes = SharedPrefixes() if self.shared_prefixes else None
        return ComparisonPlan(
            tuple(
                LoadSettings(self.engines, seconds, load, self.cv, self.tenants, self.greedy, self.trace, prefixes)
                for load in dict.fromkeys(self.load)
            ),
            repetitions,
            self.seed,
            fault=EngineFault(FaultKind(self.fault), seconds / 3) if self.fault else None,
        )

    def show(self, report: BenchmarkReport, name: str) -> None:
        """Write the report and print it."""
        import orjson
        from rich.markdown import Markdown

        from sage_benchmark.report.markdown import render_markdown
        from sage_benchmark.report.writing import write_report
        from sage_cli.consoles import notes, output

        timestamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        folder = write_report(self.output_directory, name, timestamp, report)
        if self.as_json:
            typer.echo(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2).decode())
        elif output().is_terminal:
            output().print(Markdown(render_markdown(report)))
        else:
            typer.echo(render_markdown(report))
        notes().print(f"written to {folder}")
        if not all(bar.reached for bar in report.bars):
            notes().print("a bar was missed; other load on this machine is the first thing to rule out")


def takes_bench_options(**defaults: object) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command every option of ``BenchOptions``; it gets them as its first argument, ``options``.

    Args:
        defaults: where the command's own differ.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        hints = get_type_hints(BenchOptions, include_extras=True)
        shared = [
            inspect.Parameter(
                option.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(option.name, _default(option)),
                annotation=hints[option.name],
            )
            for option in fields(BenchOptions)
        ]
        mine = [parameter for name, parameter in own.parameters.items() if name != "options"]
        names = {parameter.name for parameter in shared}

        def run(**given: Any) -> None:
            options = BenchOptions(**{name: value for name, value in given.items() if name in names})
            command(options, **{name: value for name, value in given.items() if name not in names})

        keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in mine]
        signature = inspect.Signature([*keyword, *shared])
        run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in signature.parameters.values()}
        return run

    return decorate


def _default(option: Any) -> Any:
    return option.default if option.default is not MISSING else option.default_factory()


def names_in(text: str) -> list[str]:
    """Split a list of names with commas; each once, in order."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def command_line() -> str:
    """What was typed, to stand in the report."""
    import shlex
    import sys

    return shlex.join(["sage", *sys.argv[1:]])
