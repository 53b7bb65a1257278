"""The files of a sentence-transformers model, read without importing any framework."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from sage_common.errors import ConfigurationError

# Where sentence-transformers itself falls back to when no file states a limit.
DEFAULT_MAX_TOKENS = 512
# Names that every model has a prompt for, an empty one where its files state none.
IMPLIED_PROMPTS = ("query", "document")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model on disk.

    Attributes:
        path: the folder.
        config: ``config.json``, the transformer's own.
        modules: names of the modules a text passes through, e.g. ``("Transformer", "Pooling", "Normalize")``.
        pooling: the pooling module's configuration.
        max_tokens: longest input, special tokens included.
        prompts: text to put before an input, by the prompt's name.
        default_prompt: text to put before an input of a request without a prompt.
    """

    path: Path
    config: dict[str, Any]
    modules: tuple[str, ...]
    pooling: dict[str, Any]
    max_tokens: int
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str = ""

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, the first being 0."""
        return int(self.config["vocab_size"])

    @property
    def pools_prompts(self) -> bool:
        """Whether the tokens of a prompt are pooled into the vector; INSTRUCTOR's models leave them out of the mean."""
        return self.pooling.get("include_prompt", True) is not False


def read_model_folder(path: Path) -> ModelFolder:
    """Read the files of a model. Raises ConfigurationError when one is missing or broken."""
    config = _read_object(path / "config.json")
    if "vocab_size" not in config:
        raise ConfigurationError(f"{path / 'config.json'} has no vocab_size; the model is not a text encoder")
    modules, pooling_path = _read_modules(path)
    prompts, default_prompt = _read_prompts(path / "config_sentence_transformers.json")
    return ModelFolder(
        path=path,
        config=config,
        modules=modules,
        # Without a pooling module sentence-transformers takes the mean.
        pooling=_read_object(pooling_path / "config.json") if pooling_path else {"pooling_mode_mean_tokens": True},
        max_tokens=_max_tokens(path, config),
        prompts=prompts,
        default_prompt=default_prompt,
    )


def _read_modules(path: Path) -> tuple[tuple[str, ...], Path | None]:
    file = path / "modules.json"
    if not file.exists():
        return ("Transformer", "Pooling"), None
    entries = _parse(file)
    if not isinstance(entries, list) or not all(isinstance(e, dict) and "type" in e for e in entries):
        raise ConfigurationError(f"{file}: expected a list of modules, each with a type")
    names = tuple(str(entry["type"]).rsplit(".", 1)[-1] for entry in entries)
    pooling = next((path / e["path"] for e, name in zip(entries, names, strict=True) if name == "Pooling"), None)
    return names, pooling


def _read_prompts(file: Path) -> tuple[dict[str, str], str]:
    stated = _read_optional(file)
    given = stated.get("prompts") or {}
    if not isinstance(given, dict) or not all(isinstance(prompt, str | None) for prompt in given.values()):
        raise ConfigurationError(f"{file}: expected prompts to be an object of texts by name, found {str(given)[:200]}")
    # A prompt that is null is an empty one, to sentence-transformers too.
    prompts = {name: prompt or "" for name, prompt in given.items()}
    default = stated.get("default_prompt_name")
    if default is None:
        return prompts, ""
    if default not in (*prompts, *IMPLIED_PROMPTS):
        known = ", ".join(prompts) or "none"
        raise ConfigurationError(f"{file}: default_prompt_name is {default!r}, but the prompts are: {known}")
    return prompts, prompts.get(default, "")


def _max_tokens(path: Path, config: dict[str, Any]) -> int:
    limits = [
        _read_optional(path / "sentence_bert_config.json").get("max_seq_length"),
        config.get("max_position_embeddings"),
    ]
    stated = [int(limit) for limit in limits if limit]
    return min(stated) if stated else DEFAULT_MAX_TOKENS


def _read_optional(file: Path) -> dict[str, Any]:
    return _read_object(file) if file.exists() else {}


def _read_object(file: Path) -> dict[str, Any]:
    value = _parse(file)
    if not isinstance(value, dict):
        raise ConfigurationError(f"{file}: expected a JSON object, found {type(value).__name__}")
    return value


def _parse(file: Path) -> Any:
    try:
        return orjson.loads(file.read_bytes())
    except FileNotFoundError:
        raise ConfigurationError(
            f"{file} is missing; name the folder of a sentence-transformers model with SAGE_EMBED_EXECUTOR_MODEL"
        ) from None
    except (OSError, orjson.JSONDecodeError) as error:
        raise ConfigurationError(f"cannot read {file}: {error}") from None
