"""The beginning of a GGUF file: what of a model's shape decides about its memory.

The format is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: a magic word, a version, counts, and then keys
with typed values; those of the model's architecture come before the vocabulary, which is not read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from sage_common.errors import UnprocessableError

_MAGIC: Final = b"GGUF"
_STRING, _ARRAY = 8, 9
_SCALARS: Final = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
# A key, a name or a list that is longer is none of those that are looked for, or the file is damaged.
_MAX_TEXT_BYTES: Final = 1 << 20
_MAX_ITEMS: Final = 1 << 16
_MAX_KEYS: Final = 4096
Value = int | float | bool | str | list["Value"]


@dataclass(frozen=True, slots=True)
class GgufModel:
    """A model, by the head of its file.

    Attributes:
        file_bytes: of the whole file; the weights are nearly all of it.
        context_tokens: the longest context that it was trained for; None where the file does not say.
        kv_bytes_per_token: of KV cache, for keys and values of 16 bits; None where the file does not say.
    """

    file_bytes: int
    context_tokens: int | None = None
    kv_bytes_per_token: int | None = None


def read_gguf(path: Path) -> GgufModel:
    """Read a file's head.

    Raises:
        UnprocessableError: it is no GGUF file, or a damaged one.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            values = _architecture(file)
        except (struct.error, UnicodeDecodeError, ValueError) as problem:
            raise UnprocessableError(f"{path} is no GGUF file that llama.cpp could load: {problem}") from None
    return GgufModel(size, _number(values, "context_length"), _kv_bytes(values))


def _architecture(file: BinaryIO) -> dict[str, Value]:
    """Return the values of the architecture, by their keys without its name."""
    magic = file.read(4)
    if magic != _MAGIC:
        raise ValueError(f"it begins with {magic!r}, not with {_MAGIC!r}")
    version = _read(file, "<I")
    if version < 2:
        raise ValueError(f"version {version} of the format is too old")
    _read(file, "<Q")
    found: dict[str, Value] = {}
    for _ in range(min(_read(file, "<Q"), _MAX_KEYS)):
        key = _text(file)
        if key.startswith("tokenizer."):
            break
        found[key] = _value(file, _read(file, "<I"))
    prefix = f"{found.get('general.architecture', '')}."
    return {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}


def _value(file: BinaryIO, kind: int) -> Value:
    if kind == _STRING:
        return _text(file)
    if kind == _ARRAY:
        item, length = _read(file, "<I"), _read(file, "<Q")
        if length > _MAX_ITEMS:
            raise ValueError(f"a list of {length} items before the vocabulary")
        return [_value(file, item) for _ in range(length)]
    if kind not in _SCALARS:
        raise ValueError(f"a value of the unknown type {kind}")
    value: Value = struct.unpack(_SCALARS[kind], file.read(struct.calcsize(_SCALARS[kind])))[0]
    return value


def _text(file: BinaryIO) -> str:
    length = _read(file, "<Q")
    if length > _MAX_TEXT_BYTES:
        raise ValueError(f"a text of {length} bytes before the vocabulary")
    return file.read(length).decode()


def _read(file: BinaryIO, form: str) -> int:
    return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])


def _kv_bytes(values: dict[str, Value]) -> int | None:
    layers, heads = _number(values, "block_count"), _number(values, "attention.head_count")
    width = _number(values, "embedding_length")
    if not layers or not heads or not width:
        return None
    per_layer = values.get("attention.head_count_kv", heads)
    kv_heads = sum(int(n) for n in per_layer if isinstance(n, int)) if isinstance(per_layer, list) else None
    total = kv_heads if kv_heads is not None else layers * (_number(values, "attention.head_count_kv") or heads)
    keys = _number(values, "attention.key_length") or width // heads
    of_values = _number(values, "attention.value_length") or width // heads
    return 2 * total * (keys + of_values)


def _number(values: dict[str, Value], key: str) -> int | None:
    value = values.get(key)
    if isinstance(value, list):
        value = max((item for item in value if isinstance(item, int)), default=None)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
