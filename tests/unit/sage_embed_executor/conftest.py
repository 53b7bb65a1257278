"""The real model, loaded once."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

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
    gc.set_threshold(*thresholds)
    gc.unfreeze()


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
