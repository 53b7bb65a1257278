"""Hashes that identify a model's files, and the installed versions that its exports depend on."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

_SUFFIXES = (".json", ".txt", ".model", ".safetensors", ".bin")
# The same weights in other forms, which sentence-transformers repositories may carry.
_OTHER_FORMS = ("onnx", "openvino")
_CHUNK_BYTES = 1 << 20


def model_fingerprint(folder: Path) -> str:
    """Return a hash of the names and contents of a model's files, as hex. Reads them all: about a second a gigabyte."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        if file.suffix in _SUFFIXES and relative.parts[0] not in _OTHER_FORMS and file.is_file():
            digest.update(f"{relative.as_posix()}\0{file.stat().st_size}\0".encode())
            digest.update(bytes.fromhex(file_digest(file)))
    return digest.hexdigest()


def file_digest(file: Path) -> str:
    """Return a hash of a file's contents, as hex."""
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of distributions, without those that are missing. Imports none of them."""
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def short_hash(*parts: str) -> str:
    """Return a hash of a combination of values, 16 hex digits."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
