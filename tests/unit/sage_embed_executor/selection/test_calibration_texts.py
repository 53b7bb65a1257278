from __future__ import annotations

import hashlib

from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TextTokenizer
from sage_embed_executor.selection.calibration_texts import COUNT, calibration_texts


def test_the_texts_are_distinct_and_the_same_on_every_machine() -> None:
    texts = calibration_texts()
    assert len(set(texts)) == len(texts) == COUNT
    assert hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16] == "57d432ccd99d0dbb"


def test_their_lengths_are_mixed(folder: ModelFolder, tokenizer: TextTokenizer) -> None:
    lengths = sorted(map(len, tokenizer.encode(calibration_texts(), folder.max_tokens)))
    assert lengths[0] <= 4
    assert 12 <= lengths[COUNT // 2] <= 40
    assert lengths[-1] > 150
