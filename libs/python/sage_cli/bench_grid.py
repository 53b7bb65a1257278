"""``sage bench grid``: the policies over many engines and loads in virtual time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sage_cli.bench_options import command_line, names_in

if TYPE_CHECKING:
    from sage_control_plane.settings import ControlSettings


def grid(
    seats: Annotated[str, typer.Option(help="Seats of an engine, with commas between them.")] = "2,4,16,48,256",
    shares: Annotated[str, typer.Option(help="Shares of the load that are chats; the rest is bulk.")] = "0.1,0.35,0.7",
    loads: Annotated[
        str, typer.Option(help="Loads, as multiples of what the engines do with every seat taken.")
    ] = "0.7,1.0,1.3,2.0",
    cv: Annotated[str, typer.Option(help="Variations of the gaps between arrivals: 1 Poisson, 3 bursts.")] = "1,3",
    told: Annotated[
        str, typer.Option(help="Whether the control plane is told the engines' seats: yes, no, or both.")
    ] = "yes,no",
    speeds: Annotated[str, typer.Option(help="Engine speeds: fast, slow.")] = "fast,slow",
    policies: Annotated[str, typer.Option(help="Policies to play.")] = "hybrid",
    seeds: Annotated[str, typer.Option(help="Seeds of the arrivals; each is played.")] = "1",
    seconds: Annotated[float, typer.Option(min=1, help="Time in which requests arrive in a cell, at least.")] = 120.0,
    chats: Annotated[
        int, typer.Option(min=0, help="Chats expected in a cell, at least: cells of few chats take longer.")
    ] = 300,
    heuristics: Annotated[
        bool, typer.Option("--heuristics", help="Also play orders that know every output's length, as yardsticks.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few cells of a minute, whatever part of the grid is asked for.")
    ] = False,
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity",
            help="Play the cells with each constant of the first policy at half and double its value; the cells of "
            "--quick, where no part of the grid is asked for.",
        ),
    ] = False,
    changed: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE of a scheduler setting that is a number; may be given several times."),
    ] = None,
    processes: Annotated[int, typer.Option(min=0, help="Processes at once; 0 for one on each core.")] = 0,
    output_directory: Annotated[Path, typer.Option("--output", "-o", help="Where the folder of the report goes.")] = (
        Path("bench-results")
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Play policies over engines of many sizes and loads, against what no order of service can beat.

    One cell is printed in a line, without a report: `--seats 4 --shares 0.55 --loads 1.3 --cv 1 --speeds slow`.
    """
    import orjson

    from sage_benchmark.grid.grid_cell import QUICK, Grid
    from sage_benchmark.grid.grid_report import GridReport, render_grid, write_grid
    from sage_benchmark.grid.grid_run import GridPlan, run_grid
    from sage_benchmark.grid.sensitivity import render_sensitivity, run_sensitivity, write_sensitivity
    from sage_cli.consoles import notes
    from sage_control_plane.policies.registry import check_policy

    chosen = Grid(
        seats=tuple(_whole(seats, "seats")),
        shares=tuple(_numbers(shares, "shares")),
        loads=tuple(_numbers(loads, "loads")),
        cvs=tuple(_numbers(cv, "cv")),
        speeds=tuple(names_in(speeds)),
        told=tuple(_yes_or_no(told)),
        policies=tuple(check_policy(name) for name in names_in(policies)),
        seeds=tuple(_whole(seeds, "seeds")),
        least_seconds=seconds,
        least_chats=chats,
    )
    quick = quick or (sensitivity and replace(chosen, policies=Grid().policies) == Grid())
    if quick:
        chosen = replace(QUICK, policies=chosen.policies)
    plan = GridPlan(chosen, heuristics, _changed(changed or []))
    timestamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    if sensitivity:
        found = run_sensitivity(plan, command_line(), notes().print, processes or None)
        typer.echo(
            orjson.dumps(found.to_json(), option=orjson.OPT_INDENT_2).decode() if as_json else render_sensitivity(found)
        )
        notes().print(f"written to {write_sensitivity(output_directory, timestamp, found)}")
        return
    one = len(plan.grid.workloads()) == 1
    results = run_grid(plan, typer.echo if one and not as_json else notes().print, processes or None)
    report = GridReport(command_line(), plan, results)
    if as_json:
        typer.echo(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2).decode())
    elif not one:
        typer.echo(render_grid(report))
    if not one:
        notes().print(f"written to {write_grid(output_directory, timestamp, report)}")


def _changed(settings: list[str]) -> ControlSettings:
    """Return the control plane's settings with the numbers given as NAME=VALUE."""
    from sage_benchmark.grid.constants import with_constant
    from sage_common.errors import InvalidRequestError
    from sage_control_plane.settings import ControlSettings

    control = ControlSettings()
    for text in settings:
        name, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            raise InvalidRequestError(f"--set {text!r}: a setting's name, =, and a number", param="set") from None
        control = with_constant(control, name.strip(), number)
    return control


def _numbers(text: str, option: str) -> list[float]:
    from sage_common.errors import InvalidRequestError

    try:
        return [float(name) for name in names_in(text)]
    except ValueError:
        raise InvalidRequestError(f"--{option} {text!r}: numbers with commas between them", param=option) from None


def _whole(text: str, option: str) -> list[int]:
    from sage_common.errors import InvalidRequestError

    numbers = _numbers(text, option)
    if any(number != int(number) for number in numbers):
        raise InvalidRequestError(f"--{option} {text!r}: whole numbers with commas between them", param=option)
    return [int(number) for number in numbers]


def _yes_or_no(text: str) -> list[bool]:
    from sage_common.errors import InvalidRequestError

    names = names_in(text)
    if not set(names) <= {"yes", "no"}:
        raise InvalidRequestError(f"--told {text!r}: yes, no, or both with a comma between them", param="told")
    return [name == "yes" for name in names]
