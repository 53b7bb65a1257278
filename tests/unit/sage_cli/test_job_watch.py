from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from sage_cli import dataflow
from sage_cli.app import app


def test_who_stops_watching_is_told_that_the_job_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dataflow, "watch", interrupted)
    result = CliRunner().invoke(app, ["job", "watch", "nightly"])
    assert result.exit_code != 0
    assert "nightly goes on; `sage job cancel nightly` ends it" in result.output
