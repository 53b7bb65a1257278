from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sage_common.errors import ConfigurationError
from sage_embed_executor.backends import registry
from sage_embed_executor.backends.registry import load_backend
from sage_embed_executor.model_folder import ModelFolder


def test_a_backend_whose_packages_are_missing_names_them_and_the_remedy(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "needy_backend.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "BACKENDS", {"needy": "needy_backend"})
    with pytest.raises(ConfigurationError) as caught:
        load_backend("auto", folder, threads=1)
    assert "needy needs the package 'a_package_that_is_not_there'" in caught.value.message
    assert "pip install 'sage-embed-executor[torch]'" in caught.value.message


def test_a_model_that_the_named_backend_cannot_run_is_refused_with_the_reason(folder: ModelFolder) -> None:
    other = replace(folder, config={"model_type": "mpnet"})
    with pytest.raises(ConfigurationError, match="torch-bert: model type 'mpnet', expected 'bert'"):
        load_backend("torch-bert", other, threads=1)


def test_weights_that_are_cut_short_are_named(folder: ModelFolder, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((folder.path / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ConfigurationError, match=r"cannot read .*model\.safetensors"):
        load_backend("torch-bert", replace(folder, path=tmp_path), threads=1)
