"""Code that is not ours may raise anything; to a run it is an error of some records."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from sage_common.errors import InvalidRequestError, UnprocessableError
from sage_kernel.foreign_errors import contained
from sage_kernel.functions import allow
from sage_kernel.runtime.local import LocalRunner
from sage_kernel.validation import from_dict


def raising(error: BaseException) -> Any:
    def raises(*_: object) -> Any:
        raise error

    return raises


FOREIGN = [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(), asyncio.CancelledError()]


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
def test_what_would_end_the_process_or_mislead_the_loop_is_an_error_of_the_records(error: BaseException) -> None:
    with pytest.raises(UnprocessableError):
        contained(raising(error))


def test_an_exception_and_a_result_pass() -> None:
    with pytest.raises(ZeroDivisionError):
        contained(raising(ZeroDivisionError()))
    assert contained(lambda: 3) == 3


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("op", ["map", "reduce"])
async def test_a_function_that_ends_its_process_costs_a_record(op: str, error: BaseException) -> None:
    node = {"ref": raising(error), "on_error": "dlq", **({"out": {"n": "int"}} if op == "map" else {})}
    nodes = {
        "s": {"op": "source", "records": [{"n": 1}, {"n": 2}]},
        "f": {"op": op, "in": "s", **node},
        "o": {"op": "sink", "in": "f", "uri": "collection:o"},
    }
    spec = from_dict({"apiVersion": "sage/v1", "kind": "Pipeline", "metadata": {"name": "p"}, "nodes": nodes})
    run = LocalRunner(None).run(spec)  # type: ignore[arg-type]
    if op == "map":
        assert [letter.record for letter in (await run).dead_letters] == [{"n": 1}, {"n": 2}]
    else:
        # One of two records is no record's fault alone, so each passes by itself and the end fails.
        with pytest.raises(Exception, match="node 'f'"):
            await run


@pytest.mark.parametrize("source", ["raise RuntimeError('at import')", "import sys; sys.exit(4)", "def ("])
def test_a_module_that_cannot_be_imported_is_named(source: str, tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "odd_module.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InvalidRequestError, match="the function 'odd_module:f' cannot be loaded: "):
        allow(["odd_module:*"]).load("odd_module:f")
    sys.modules.pop("odd_module", None)
