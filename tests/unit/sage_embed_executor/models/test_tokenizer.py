from __future__ import annotations

from pathlib import Path

import pytest

from sage_common.errors import ConfigurationError
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TextTokenizer

CLS, SEP = 101, 102


def test_texts_become_the_ids_that_the_models_tokenizer_gives(tokenizer: TextTokenizer) -> None:
    (ids,) = tokenizer.encode(["hello world"], 256)
    assert ids.tolist() == [CLS, 7592, 2088, SEP]
    assert tokenizer.special_tokens == 2


def test_the_training_limit_in_the_tokenizers_file_does_not_apply(tokenizer: TextTokenizer) -> None:
    (ids,) = tokenizer.encode(["word " * 1000], 256)
    assert len(ids) == 256


@pytest.mark.parametrize(("side", "expected"), [("right", [7592]), ("left", [2088])])
def test_a_long_text_is_cut_on_the_side_asked_for(tokenizer: TextTokenizer, side: str, expected: list[int]) -> None:
    (ids,) = tokenizer.encode(["hello world"], 3, side)  # type: ignore[arg-type]
    assert ids.tolist() == [CLS, *expected, SEP]


@pytest.mark.parametrize("given", [[7592, 2088], [CLS, 7592, 2088, SEP]])
def test_special_tokens_are_added_to_given_ids_once(tokenizer: TextTokenizer, given: list[int]) -> None:
    assert tokenizer.frame(given, 256).tolist() == [CLS, 7592, 2088, SEP]


def test_given_ids_are_cut_inside_their_special_tokens(tokenizer: TextTokenizer) -> None:
    assert tokenizer.frame([CLS, 5, 6, 7, SEP], 4).tolist() == [CLS, 5, 6, SEP]
    assert tokenizer.frame([5, 6, 7], 4, "left").tolist() == [CLS, 6, 7, SEP]


def test_a_lone_special_token_is_a_text_like_any_other(tokenizer: TextTokenizer) -> None:
    assert tokenizer.frame([CLS], 256).tolist() == [CLS, CLS, SEP]


def test_a_missing_tokenizer_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="save the model with a fast tokenizer"):
        TextTokenizer.load(tmp_path)


def test_a_broken_tokenizer_file_is_named(tmp_path: Path, folder: ModelFolder) -> None:
    (tmp_path / "tokenizer.json").write_text((folder.path / "tokenizer.json").read_text()[:100])
    with pytest.raises(ConfigurationError, match=r"cannot read .*tokenizer\.json"):
        TextTokenizer.load(tmp_path)
