"""The real model, loaded once."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from sage_embed_executor.engines.model_loader import LoadedModel
from sage_embed_executor.models.model_folder import ModelFolder, read_model_folder
from sage_embed_executor.models.tokenizer import TextTokenizer
from sage_embed_executor.models.weights import DEFAULT_MODEL, find_weights


@pytest.fixture(autouse=True)
def garbage_collector_as_before() -> Iterator[None]:
    """An engine that starts settles it for the whole process."""
    thresholds = gc.get_threshold()
    yield
    if gc.get_threshold() != thresholds:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def folder() -> ModelFolder:
    """The files of all-MiniLM-L6-v2."""
    return read_model_folder(find_weights(DEFAULT_MODEL))


@pytest.fixture(scope="session")
def tokenizer(folder: ModelFolder) -> TextTokenizer:
    return TextTokenizer.load(folder.path)


@pytest.fixture(scope="session")
def minilm(folder: ModelFolder, tokenizer: TextTokenizer) -> LoadedModel:
    """all-MiniLM-L6-v2 on torch, in fp32."""
    from sage_embed_executor.backends.backend import Runtime
    from sage_embed_executor.backends.registry import load_backend

    with warnings.catch_warnings():
        # Whatever frameworks have to say about themselves while they are imported.
        warnings.simplefilter("ignore")
        return LoadedModel(folder, tokenizer, load_backend("torch", folder, Runtime()))


@pytest.fixture(scope="session")
def made_exports(tmp_path_factory: pytest.TempPathFactory, folder: ModelFolder) -> Path:
    """A cache with OpenVINO's export in fp32, made by two processes at the same time. Tests change copies of it."""
    cache = tmp_path_factory.mktemp("exports")
    code = (
        "import sys; from pathlib import Path\n"
        "from sage_embed_executor.exports.export_cache import exported\n"
        "from sage_embed_executor.backends.openvino_model import EXPORT as OPENVINO\n"
        "from sage_embed_executor.exports.export_form import Precision\n"
        "from sage_embed_executor.child_process import ChildRunner\n"
        "from sage_embed_executor.models.model_folder import read_model_folder\n"
        f"print(exported(read_model_folder(Path({str(folder.path)!r})), OPENVINO, Precision.FP32, ChildRunner()))"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
        answers = [process.communicate(timeout=180)[0].splitlines()[-1] for process in both]
    assert answers[0] == answers[1]
    return cache


@pytest.fixture
def cache(made_exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, with that export in it."""
    copy = tmp_path / "cache-copy"
    shutil.copytree(made_exports, copy)
    monkeypatch.setenv("XDG_CACHE_HOME", str(copy))
    return copy
