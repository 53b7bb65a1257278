"""``sage bench native``: what the C++ vector scan saves on this machine, beside other libraries."""

from __future__ import annotations

from typing import Annotated

import typer

from sage_cli.consoles import AsJson


def native(
    vectors: Annotated[int, typer.Option(min=100, help="Vectors to search.")] = 100_000,
    records: Annotated[int, typer.Option(min=100, help="Records of each stream to join.")] = 10_000,
    repetitions: Annotated[int, typer.Option("--repetitions", "-n", min=1, help="Times each part is run.")] = 7,
    seed: Annotated[int, typer.Option(help="Seed of the vectors.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Measure exact vector search and `window_join` beside numpy, numkong, faiss and usearch, two threads each."""
    from sage_benchmark.native.native_benchmark import NativePlan, run
    from sage_cli.consoles import notes, output, print_json
    from sage_cli.fitted_tables import Column, print_rows

    plan = NativePlan(vectors=vectors, records=records, repetitions=repetitions, seed=seed)
    result = run(plan, lambda step: notes().print(step, markup=False))
    if as_json:
        print_json(result.to_json())
        return
    right = [Column(name, right=True) for name in ("wall ms", "CPU ms", "found")]
    rows = [
        [row.measure, row.opponent, f"{row.wall_ms:,.2f}", f"{row.cpu_ms:,.2f}", f"{row.exactness:.4f}"]
        for row in result.rows
    ]
    print_rows(output(), [Column("measure", wrap=True), Column("by"), *right], rows)
    output().print()
    bars = []
    for bar in result.bars:
        wanted = f"{'≤' if bar.at_most else '≥'} {bar.bar:g} {bar.unit}".strip()
        bars.append(
            [bar.name, f"{bar.value:.3g} {bar.unit}".strip(), wanted, "reached" if bar.is_reached else "MISSED"]
        )
    columns = [Column("figure", wrap=True), Column("measured", right=True), Column("bar", right=True), Column("")]
    print_rows(output(), columns, bars)
    for name in result.absent:
        hint = "`pip install ./libs/cpp`" if name == "native" else "`pip install './libs/python[bench-native]'`"
        notes().print(f"{name} is not installed; {hint} brings it", markup=False)
