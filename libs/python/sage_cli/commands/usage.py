"""``sage usage``: what requests came to, by tenant, key and model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sage_cli.consoles import AsJson

if TYPE_CHECKING:
    from sage_client.management.tenants import UsageView

_BY = ("all", "hour", "day")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(usage)


def usage(
    tenant: Annotated[str, typer.Option(help="Of this tenant alone.")] = "",
    key: Annotated[str, typer.Option(metavar="ID", help="With this API key alone.")] = "",
    model: Annotated[str, typer.Option(help="Of this model alone.")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="Of the last 24h, 30d.")] = "",
    by: Annotated[str, typer.Option(metavar="PERIOD", help="A row for each hour or day, by UTC.")] = "all",
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as CSV.")] = None,
    parquet: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as Parquet.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what requests came to: tokens, and money where models have prices."""
    from dataclasses import asdict

    from sage_cli.consoles import notes, print_json
    from sage_cli.running import run

    if by not in _BY:
        raise typer.BadParameter(f"{by!r} is none of {', '.join(_BY)}", param_hint="--by")
    rows = run(_usage(tenant, key, model, _since_unix_ms(since), by))
    if csv is not None:
        from sage_client.management.usage_csv import usage_csv

        csv.write_text(usage_csv(rows), encoding="utf-8", newline="")
    if parquet is not None:
        _write_parquet(rows, parquet)
    if as_json:
        print_json([asdict(row) for row in rows])
    elif csv is not None or parquet is not None:
        written = " and ".join(str(path) for path in (csv, parquet) if path is not None)
        notes().print(f"{len(rows)} rows written to {written}", markup=False, style="dim")
    elif rows:
        _print_rows(rows, by)
    else:
        notes().print("nothing was used; sums lag the last request by a second or two", markup=False, style="dim")


async def _usage(tenant: str, key: str, model: str, since_unix_ms: int, by: Any) -> list[UsageView]:
    from sage_cli.target import tenant_management

    async with tenant_management() as tenants:
        return await tenants.usage(tenant=tenant, key_id=key, model=model, since_unix_ms=since_unix_ms, by=by)


def _since_unix_ms(text: str) -> int:
    import time

    from sage_kernel.durations import parse_duration

    if not text:
        return 0
    try:
        microseconds = parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None
    return max(0, int(time.time() * 1000) - microseconds // 1000)


def _write_parquet(rows: list[UsageView], path: Path) -> None:
    from dataclasses import asdict

    import polars as pl

    schema = {
        "start_unix_ms": pl.Int64,
        "tenant": pl.String,
        "key_id": pl.String,
        "model": pl.String,
        "requests": pl.Int64,
        "failed": pl.Int64,
        "prompt_tokens": pl.Int64,
        "cached_tokens": pl.Int64,
        "completion_tokens": pl.Int64,
        "money": pl.String,
        "route": pl.String,
    }
    pl.DataFrame([asdict(row) for row in rows], schema=schema).with_columns(
        pl.col("money").cast(pl.Decimal(38, 9))
    ).write_parquet(path)


def _print_rows(rows: list[UsageView], by: str) -> None:
    from sage_cli.consoles import output
    from sage_cli.fitted_tables import Column, print_rows

    columns = (
        # Who asks for a row a day wants to see which.
        Column("from", drop=6 if by == "all" else 0),
        Column("tenant"),
        Column("key", drop=3),
        Column("model", wrap=True, drop=1),
        Column("asked as", wrap=True, drop=2),
        Column("requests"),
        Column("failed", drop=4),
        Column("prompt"),
        Column("cached", drop=5),
        Column("completion"),
        Column("money", drop=1),
    )
    priced = any(row.money.strip("0.") for row in rows)
    cells = [
        (
            _moment(row.start_unix_ms, by),
            row.tenant,
            row.key_id,
            row.model,
            row.route,
            f"{row.requests:,}",
            f"{row.failed:,}",
            f"{row.prompt_tokens:,}",
            f"{row.cached_tokens:,}",
            f"{row.completion_tokens:,}",
            row.money if priced else "",
        )
        for row in rows
    ]
    print_rows(output(), columns, cells)


def _moment(unix_ms: int | None, by: str) -> str:
    from datetime import datetime, timezone

    if unix_ms is None:
        return ""
    pattern = "%Y-%m-%d" if by == "day" else "%Y-%m-%d %H:%M"
    return datetime.fromtimestamp(unix_ms / 1000, timezone.utc).strftime(pattern)
