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
    from sage_benchmark.workload.load_settings import LoadSettings

QUICK_SECONDS = 20.0
ENGINES = 3
SECONDS = 60.0
LOAD = 1.3
TENANTS = 3


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What is run, how often, and where the report goes. Each field is an option of every command that takes it.

    What is None, or an empty list, was not given: its default depends on the command and its engines.
    """

    engines: Annotated[int | None, typer.Option(min=1, help=f"Engines; {ENGINES} where they are simulated.")] = None
    seconds: Annotated[
        float | None, typer.Option(min=1, help=f"Time in which requests arrive, in each run; {SECONDS:g} by default.")
    ] = None
    load: Annotated[
        list[float],
        typer.Option(
            min=0.01,
            help="Offered load, as a multiple of what saturates simulated engines (1.3 by default) or of the stated "
            "rates (1 by default); given several times, each is run and charts show figures against load.",
        ),
    ] = field(default_factory=list)
    cv: Annotated[
        float, typer.Option(min=0.01, help="Variation of the gaps between arrivals: 1 is Poisson, 3 is bursty.")
    ] = 1.0
    repetitions: Annotated[
        int, typer.Option("--repetitions", "-n", min=1, help="Runs of each, with a seed of its own.")
    ] = 3
    seed: Annotated[int, typer.Option(help="First seed; repetitions take the next ones.")] = 1
    tenants: Annotated[
        int | None, typer.Option(min=1, help=f"Tenants that share the load equally; {TENANTS} by default.")
    ] = None
    embeddings: Annotated[bool, typer.Option(help="Whether the mixed load has embeddings.")] = True
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

    def workloads(self) -> tuple[LoadSettings, ...]:
        """Make the workload of each load. Raises InvalidRequestError for tenants or prompts in a trace: it has none."""
        from sage_benchmark.workload.load_settings import LoadSettings
        from sage_benchmark.workload.mixed_load import SharedPrefixes
        from sage_benchmark.workload.request_shapes import EMBEDDING, MIXED
        from sage_common.errors import InvalidRequestError

        for given, option in ((self.greedy, "--greedy-tenant"), (self.shared_prefixes, "--shared-prefixes")):
            if self.trace is not None and given:
                raise InvalidRequestError(f"{option} and --trace exclude each other: a trace has no tenants or texts")
        prefixes = SharedPrefixes() if self.shared_prefixes else None
        shapes = MIXED if self.embeddings else tuple(shape for shape in MIXED if shape is not EMBEDDING)
        shared = (self.tenants or TENANTS, self.greedy, self.trace, prefixes, shapes)
        engines, seconds = self.engines or ENGINES, self.run_seconds(SECONDS)
        return tuple(LoadSettings(engines, seconds, load, self.cv, *shared) for load in self.loads(LOAD))

    def plan(self) -> ComparisonPlan:
        """Make the plan of a benchmark. Raises InvalidRequestError for a fault that there is none of, and as above."""
        from sage_benchmark.live.comparison import ComparisonPlan
        from sage_benchmark.workload.engine_fault import EngineFault, FaultKind
        from sage_common.errors import InvalidRequestError

        if self.fault and self.fault not in {kind.value for kind in FaultKind}:
            known = ", ".join(kind.value for kind in FaultKind)
            raise InvalidRequestError(f"no fault is called {self.fault!r}; known: {known}", param="fault")
        workloads = self.workloads()
        fault = EngineFault(FaultKind(self.fault), workloads[0].seconds / 3) if self.fault else None
        return ComparisonPlan(workloads, self.runs, self.seed, fault=fault)

    @property
    def runs(self) -> int:
        """Runs of each system under each load."""
        return 1 if self.quick else self.repetitions

    def run_seconds(self, default: float) -> float:
        """Time in which requests arrive; ``default`` where it was not given."""
        seconds = self.seconds or default
        return min(seconds, QUICK_SECONDS) if self.quick else seconds

    def loads(self, default: float) -> list[float]:
        """The loads, each once; ``default`` where none was given."""
        return list(dict.fromkeys(self.load or [default]))

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


def takes_bench_options(
    options: type[BenchOptions] = BenchOptions, /, **defaults: object
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command every option of ``options``; it gets them as its first argument, which has that name.

    Args:
        defaults: where the command's own differ.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        hints = get_type_hints(options, include_extras=True)
        shared = [
            inspect.Parameter(
                option.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(option.name, _default(option)),
                annotation=hints[option.name],
            )
            for option in fields(options)
        ]
        mine = [parameter for name, parameter in own.parameters.items() if name != "options"]
        names = {parameter.name for parameter in shared}

        def run(**given: Any) -> None:
            chosen = options(**{name: value for name, value in given.items() if name in names})
            command(chosen, **{name: value for name, value in given.items() if name not in names})

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
