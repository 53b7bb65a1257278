from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from sage_common.errors import ConfigurationError
from sage_embed_executor.models.model_folder import ModelFolder, read_model_folder


def write(folder: Path, name: str, value: object) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(orjson.dumps(value))


def test_the_default_model_is_read_as_its_files_say(folder: ModelFolder) -> None:
    assert folder.modules == ("Transformer", "Pooling", "Normalize")
    assert folder.max_tokens == 256
    assert folder.vocabulary_size == 30522
    assert folder.pooling["pooling_mode_mean_tokens"] is True


def test_a_bare_transformer_is_pooled_by_the_mean_without_normalising(tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"vocab_size": 9, "max_position_embeddings": 77})
    folder = read_model_folder(tmp_path)
    assert folder.modules == ("Transformer", "Pooling")
    assert folder.pooling == {"pooling_mode_mean_tokens": True}
    assert folder.max_tokens == 77


def test_prompts_and_the_smaller_limit_are_taken(tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"vocab_size": 9, "max_position_embeddings": 512})
    write(tmp_path, "sentence_bert_config.json", {"max_seq_length": 128})
    write(tmp_path, "config_sentence_transformers.json", {"prompts": {"query": "Represent: "}})
    folder = read_model_folder(tmp_path)
    assert (folder.max_tokens, folder.prompts) == (128, {"query": "Represent: "})


@pytest.mark.parametrize(
    ("stated", "prompt"),
    [
        ({"prompts": {"query": "Q: "}}, ""),
        ({"prompts": {"query": "Q: "}, "default_prompt_name": None}, ""),
        ({"prompts": {}, "default_prompt_name": "query"}, ""),
        ({"prompts": {"query": "Q: ", "passage": None}, "default_prompt_name": "query"}, "Q: "),
        ({"prompts": {"query": "Q: ", "passage": None}, "default_prompt_name": "passage"}, ""),
    ],
)
def test_the_default_prompt_is_the_one_that_is_named(tmp_path: Path, stated: object, prompt: str) -> None:
    write(tmp_path, "config.json", {"vocab_size": 9})
    write(tmp_path, "config_sentence_transformers.json", stated)
    assert read_model_folder(tmp_path).default_prompt == prompt


def test_a_default_prompt_that_is_not_there_is_named(tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"vocab_size": 9})
    write(tmp_path, "config_sentence_transformers.json", {"prompts": {"query": ""}, "default_prompt_name": "s2p"})
    with pytest.raises(ConfigurationError, match="default_prompt_name is 's2p', but the prompts are: query"):
        read_model_folder(tmp_path)


@pytest.mark.parametrize("prompts", [["query: "], "query: ", 5, {"query": ["Q: "]}])
def test_prompts_that_are_no_texts_by_name_are_refused(tmp_path: Path, prompts: object) -> None:
    write(tmp_path, "config.json", {"vocab_size": 9})
    write(tmp_path, "config_sentence_transformers.json", {"prompts": prompts})
    with pytest.raises(ConfigurationError, match=r"config_sentence_transformers\.json: expected prompts"):
        read_model_folder(tmp_path)


def test_a_missing_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"config\.json is missing; name the folder of a sentence-transformers"
    ):
        read_model_folder(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"{", "cannot read"), (b"[]", "expected a JSON object, found list"), (b"{}", "has no vocab_size")],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=complaint):
        read_model_folder(tmp_path)
