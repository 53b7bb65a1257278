"""Usage as comma-separated values, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields

from sage_client.management.tenants import UsageView

COLUMNS = tuple(field.name for field in fields(UsageView))


def usage_csv(rows: Sequence[UsageView]) -> str:
    """Return rows below a line with the names of the columns (RFC 4180)."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()
