from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sage_common.errors import ConfigurationError
from sage_embed_executor.backends import registry
from sage_embed_executor.backends.backend import Runtime
from sage_embed_executor.backends.registry import BackendEntry, load_backend
from sage_embed_executor.exports.export_form import Precision
from sage_embed_executor.models.model_folder import ModelFolder


def test_a_backend_whose_packages_are_missing_names_them_and_the_remedy(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    needy = BackendEntry("needy_backend", (Precision.FP32,), ("a_package_that_is_not_there",), "needy")
    monkeypatch.setattr(registry, "BACKENDS", {"needy": needy})
    with pytest.raises(ConfigurationError) as caught:
        load_backend("needy", folder, Runtime())
    assert "needy: needs the package 'a_package_that_is_not_there'" in caught.value.message
    assert "pip install 'sage-embed-executor[needy]'" in caught.value.message


def test_a_precision_that_a_backend_has_not_is_refused(folder: ModelFolder) -> None:
    with pytest.raises(ConfigurationError, match="torch: has no int8, only fp32, bf16"):
        load_backend("torch", folder, Runtime(Precision.INT8))


def test_a_device_that_is_not_there_is_refused(folder: ModelFolder) -> None:
    with pytest.raises(ConfigurationError, match="torch sees no device 'cuda:7'"):
        load_backend("torch", folder, Runtime(device="cuda:7"))


def test_a_model_that_the_named_backend_cannot_run_is_refused_with_the_reason(folder: ModelFolder) -> None:
    other = replace(folder, config={"model_type": "mpnet"})
    with pytest.raises(ConfigurationError, match="torch: model type 'mpnet', expected 'bert'"):
        load_backend("torch", other, Runtime())


def test_weights_that_are_cut_short_are_named(folder: ModelFolder, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((folder.path / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ConfigurationError, match=r"cannot read .*model\.safetensors"):
        load_backend("torch", replace(folder, path=tmp_path), Runtime())
