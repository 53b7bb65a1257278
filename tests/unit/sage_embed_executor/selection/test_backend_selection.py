"""Selecting with the real model, in real children, on what is installed."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sage_common.errors import ConfigurationError
from sage_embed_executor.backends import registry
from sage_embed_executor.backends.backend import EmbeddingBackend
from sage_embed_executor.child_process import ChildRunner
from sage_embed_executor.exports.export_cache import EXPORT_REMOVED
from sage_embed_executor.exports.export_form import Precision
from sage_embed_executor.models.model_folder import ModelFolder, read_model_folder
from sage_embed_executor.selection import backend_selection, trial_child
from sage_embed_executor.selection.backend_selection import (
    BackendPreference,
    load_before_measuring,
    select,
    select_and_load,
)
from sage_embed_executor.selection.candidates import Candidate
from sage_embed_executor.selection.selection_cache import read_selection
from sage_embed_executor.thread_priority import BULK_NICENESS

pytestmark = pytest.mark.timeout(300)
FP32_AND_INT8 = (Precision.FP32, Precision.INT8)


class NoChildren(ChildRunner):
    def run(self, *_: object) -> dict[str, object]:
        raise AssertionError("no child should have been needed")


class GivenSpeeds(ChildRunner):
    """Children that report the given speeds."""

    def __init__(self, speeds: dict[str, float]) -> None:
        super().__init__()
        self.speeds = speeds
        self.tried: list[str] = []
        self.measured: list[str] = []

    def run(self, _module: str, request: Mapping[str, Any], _timeout_seconds: float) -> dict[str, Any]:
        name = f"{request['backend']} {request['precision']}"
        self.tried.append(name)
        if request["budgets"]:
            self.measured.append(name)
        if request["precision"] == "fp32":
            Path(request["reference"]).touch()
        assert Path(request["reference"]).exists(), f"{name} has nothing to be compared with"
        if name not in self.speeds:
            return {"problem": "cannot run it"}
        return {
            "problem": "",
            "tokens_per_second": self.speeds[name],
            "token_budget": 512,
            "cosine": 1.0,
            "memory_mb": 1,
        }


@pytest.fixture
def short_folder(folder: ModelFolder, tmp_path: Path) -> ModelFolder:
    """The real model, which reads 6 tokens of a text: a trial computes an eighth of its texts' tokens."""
    short = tmp_path / "short"
    short.mkdir()
    for path in folder.path.iterdir():
        (short / path.name).symlink_to(path)
    limits = short / "sentence_bert_config.json"
    settings = json.loads(limits.read_bytes())
    limits.unlink()
    limits.write_text(json.dumps({**settings, "max_seq_length": 6}))
    return read_model_folder(short)


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(registry, "missing_packages", lambda name: [] if name in names else [name])


@pytest.mark.parametrize(
    ("speeds", "tried", "chosen"),
    [
        # Twice as fast in bf16: no other fp32 will come near.
        ({"torch fp32": 10, "torch bf16": 20, "openvino bf16": 23}, ["torch bf16", "openvino bf16"], "openvino bf16"),
        # Not so much faster: each fp32 may be the best.
        (
            {"torch fp32": 10, "torch bf16": 8, "openvino bf16": 14, "openvino fp32": 11, "onnx fp32": 13},
            ["torch bf16", "openvino bf16", "openvino fp32", "onnx fp32"],
            "onnx fp32",
        ),
        # bf16 does not run here.
        (
            {"torch fp32": 10, "openvino fp32": 11, "onnx fp32": 9},
            ["torch bf16", "openvino bf16", "openvino fp32", "onnx fp32"],
            "openvino fp32",
        ),
    ],
)
def test_backends_are_spared_their_trial_in_fp32_where_bf16_is_far_faster(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, speeds: dict[str, float], tried: list[str], chosen: str
) -> None:
    only(monkeypatch, "torch", "openvino", "onnx", "sentence-transformers")
    children = GivenSpeeds(speeds)
    selection = select(folder, BackendPreference(), children)
    # The one that is chosen is tried again, with every token budget.
    assert children.tried == ["torch fp32", *tried, chosen]
    assert str(selection.candidate) == chosen
    assert len(selection.trials) == 5
    for trial in selection.trials:
        assert str(trial.candidate) in children.tried or trial.problem.startswith("not tried, openvino bf16 is 2.3")


def test_without_torch_the_first_fp32_is_what_bf16_is_compared_with(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "openvino", "onnx")
    children = GivenSpeeds({"openvino fp32": 10, "openvino bf16": 20, "onnx fp32": 11})
    assert str(select(folder, BackendPreference(), children).candidate) == "openvino bf16"
    assert children.tried == ["openvino fp32", "openvino bf16", "openvino bf16"]


def test_a_backend_that_only_gives_the_reference_is_not_measured_and_holds_no_other_to_its_speed(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "torch", "openvino")
    children = GivenSpeeds({"torch fp32": 10, "openvino fp32": 1, "openvino bf16": 2})
    assert str(select(folder, BackendPreference("openvino"), children).candidate) == "openvino bf16"
    assert children.tried[0] == "torch fp32"
    assert "torch fp32" not in children.measured
    assert {"openvino fp32", "openvino bf16"} <= {*children.measured}


def test_where_there_is_no_choice_nothing_is_measured(folder: ModelFolder) -> None:
    loaded = select_and_load(folder, BackendPreference("torch", "fp32"), NoChildren())
    selection = loaded.selection
    assert (selection.candidate, selection.measured) == (Candidate("torch", Precision.FP32), False)
    assert selection.token_budget == 512
    assert loaded.backend.dimensions == 384
    assert loaded.bulk_backend is None


@pytest.mark.long
def test_a_first_start_measures_and_the_second_remembers(
    short_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    only(monkeypatch, "torch")
    monkeypatch.setattr(backend_selection, "BUDGETS", (256, 512))
    preference = BackendPreference(streams=2)
    assert short_folder.max_tokens == 6
    first = select(short_folder, preference, ChildRunner())
    assert {str(trial.candidate) for trial in first.trials} == {"torch fp32", "torch bf16"}
    assert first.measured
    assert first.tokens_per_second > 0
    assert first.token_budget in backend_selection.BUDGETS
    assert first.cosine >= 0.99
    assert select(short_folder, preference, NoChildren()) == first
    (stored,) = (tmp_path / "xdg" / "cache" / "sage" / "embedding-selections").iterdir()
    stored.write_bytes(stored.read_bytes()[:50])
    assert read_selection(stored) is None


def test_a_cache_that_cannot_be_written_leaves_torch_serving(
    short_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    loaded = select_and_load(short_folder, BackendPreference("openvino", "fp32"), ChildRunner())
    assert loaded.selection.candidate == Candidate("torch", Precision.FP32)
    assert "torch" in loaded.backend.description


def test_an_export_that_others_removed_does_not_make_int8_into_fp32_and_is_tried_again(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def removed(*_: object) -> EmbeddingBackend:
        raise ConfigurationError("the export was removed", code=EXPORT_REMOVED)

    class Trials(GivenSpeeds):
        def run(self, module: str, request: Mapping[str, Any], timeout_seconds: float) -> dict[str, Any]:
            if request["precision"] != "int8":
                return super().run(module, request, timeout_seconds)
            self.tried.append("int8")
            return trial_child.run_trial({**request, "budgets": [512]})

    only(monkeypatch, "torch", "openvino", "nncf")
    monkeypatch.setattr(trial_child, "load_backend", removed)
    with pytest.raises(ConfigurationError, match="the export was removed") as caught:
        select_and_load(folder, BackendPreference("openvino", "int8"), Trials({"torch fp32": 10}))
    assert caught.value.code == "no_backend"

    monkeypatch.setattr(
        backend_selection, "candidates", lambda *_: ([Candidate("openvino", p) for p in FP32_AND_INT8], [])
    )
    for _ in range(2):
        children = Trials({"torch fp32": 10, "openvino fp32": 20})
        assert str(select(folder, BackendPreference(), children).candidate) == "openvino fp32"
        assert "int8" in children.tried


def test_a_precision_that_nothing_here_has_is_refused_and_not_replaced(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "torch")
    with pytest.raises(ConfigurationError, match=r"openvino: needs the package 'openvino'.*\[torch,openvino,onnx\]"):
        select_and_load(folder, BackendPreference("auto", "int8"), NoChildren())


def test_a_model_that_only_the_library_runs_is_run_by_it(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    only(monkeypatch, "torch", "sentence-transformers")
    monkeypatch.setattr("sage_embed_executor.backends.torch_bert.supports", lambda *_: "not this one")
    loaded = select_and_load(folder, BackendPreference("auto", "fp32"), ChildRunner())
    assert loaded.selection.candidate == Candidate("sentence-transformers", Precision.FP32)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux knows the priority of a thread")
@pytest.mark.parametrize(("streams", "threads"), [(2, 1), (1, 2)])
@pytest.mark.usefixtures("cache")
def test_bulk_work_is_computed_on_threads_that_make_way(folder: ModelFolder, streams: int, threads: int) -> None:
    pytest.importorskip("openvino")
    own = os.getpriority(os.PRIO_PROCESS, 0)
    if own >= BULK_NICENESS:
        pytest.skip(f"these tests run at niceness {own}, where nothing makes way")
    before = processor_times()
    preference = BackendPreference("openvino", "fp32", streams=streams, threads=threads, token_budget=512)
    loaded = select_and_load(folder, preference, GivenSpeeds({"torch fp32": 10, "openvino fp32": 10}))
    assert loaded.bulk_backend is not None
    inputs = [np.arange(5, 133, dtype=np.int32)] * 4
    found = []
    # Bulk work first: what it starts must not compute what comes after.
    for backend, niceness in ((loaded.bulk_backend, BULK_NICENESS), (loaded.backend, own)):
        idle = processor_times()
        for _ in range(4):
            vectors = backend.embed(inputs)
        found.append(vectors)
        spent: Counter[int] = Counter()
        for thread, seconds in processor_times().items():
            if thread not in before:
                spent[os.getpriority(os.PRIO_PROCESS, thread)] += seconds - idle.get(thread, 0)
        assert spent[niceness] > 0.8 * spent.total()
    assert np.allclose(*found, atol=1e-6)


def processor_times() -> dict[int, int]:
    """Nanoseconds that each thread of this process has computed."""
    times = {}
    for task in Path("/proc/self/task").iterdir():
        # One that ends meanwhile has computed nothing that counts here.
        with suppress(FileNotFoundError, ProcessLookupError):
            times[int(task.name)] = int((task / "schedstat").read_text().split()[0])
    return times


def test_before_the_backends_are_measured_torch_serves_and_afterwards_the_chosen(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "torch", "openvino")
    loaded = load_before_measuring(folder, BackendPreference(), NoChildren())
    assert loaded is not None
    assert (str(loaded.selection.candidate), loaded.selection.measured) == ("torch fp32", False)
    select(folder, BackendPreference(), GivenSpeeds({"torch fp32": 10, "openvino fp32": 11}))
    # Known now, as at every later start.
    assert load_before_measuring(folder, BackendPreference(), NoChildren()) is None


@pytest.mark.parametrize("preference", [BackendPreference("torch"), BackendPreference(precision="int8")])
def test_what_the_settings_ask_for_is_waited_for(folder: ModelFolder, preference: BackendPreference) -> None:
    assert load_before_measuring(folder, preference, NoChildren()) is None


def test_where_only_torch_in_fp32_is_to_be_had_nothing_is_measured(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "openvino")
    assert load_before_measuring(folder, BackendPreference(), NoChildren()) is None
