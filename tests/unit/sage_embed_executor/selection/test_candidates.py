from __future__ import annotations

import pytest

from sage_embed_executor.backends import registry
from sage_embed_executor.exports.export_form import Precision
from sage_embed_executor.selection.candidates import Candidate, Trial, candidates, choose

FP32, BF16, INT8 = Precision.FP32, Precision.BF16, Precision.INT8


def trial(backend: str, precision: Precision, speed: float, cosine: float = 1.0, problem: str = "") -> Trial:
    return Trial(Candidate(backend, precision), problem, speed, 512, cosine)


def test_the_fastest_that_passes_is_taken() -> None:
    trials = [trial("torch", FP32, 9), trial("openvino", FP32, 12), trial("onnx", FP32, 11)]
    assert choose(trials) is trials[1]


@pytest.mark.parametrize(("cosine", "taken"), [(0.9899, 0), (0.99, 1), (-1.0, 0)])
def test_a_reduced_precision_below_the_gate_is_out_however_fast(cosine: float, taken: int) -> None:
    trials = [trial("torch", FP32, 9), trial("openvino", INT8, 90, cosine)]
    assert choose(trials) is trials[taken]


@pytest.mark.parametrize(("speed", "taken"), [(10.9, 0), (11.0, 1)])
def test_a_reduced_precision_must_be_worth_its_error(speed: float, taken: int) -> None:
    trials = [trial("torch", FP32, 10), trial("openvino", BF16, speed, 0.9999)]
    assert choose(trials) is trials[taken]


def test_an_export_that_computes_something_else_in_fp32_is_out() -> None:
    trials = [trial("torch", FP32, 9), trial("openvino", FP32, 12, 0.9995)]
    assert choose(trials) is trials[0]


def test_nothing_is_taken_where_nothing_passes() -> None:
    assert choose([trial("torch", BF16, 0, 0, "given up"), trial("openvino", INT8, 90, 0.5)]) is None


def test_int8_is_only_for_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "missing_packages", lambda _name: [])
    found, problems = candidates("auto", "auto")
    assert {candidate.precision for candidate in found} == {FP32, BF16}
    assert found[0] == Candidate("torch", FP32)
    assert problems == []
    assert candidates("auto", "int8")[0] == [Candidate("openvino", INT8), Candidate("onnx", INT8)]


def test_what_is_asked_for_and_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "missing_packages", lambda name: [] if name == "torch" else [name])
    assert candidates("openvino", "int8") == ([], ["openvino: needs the package 'openvino'"])
    assert candidates("torch", "int8") == ([], ["torch: has no int8, only fp32, bf16"])
