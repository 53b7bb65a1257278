"""Vectors of texts, kept in a file between runs so that an unchanged text is not embedded twice."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sage_common.folder_sync import sync_folder
from sage_common.paths import private_dir

MAX_BYTES = 256 * 1024 * 1024
_FORMAT = 1
_KEY_BYTES = 32

Vector = npt.NDArray[np.float32]


class VectorCache:
    """Vectors of one model by the SHA-256 of their text, in the order of their last use.

    Not thread-safe; ``load`` and ``save`` block on the disk.

    Args:
        path: the file; it need not exist.
        warn: takes a warning for people.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn
        self._vectors: dict[bytes, Vector] = {}
        self._changed = False

    def __len__(self) -> int:
        return len(self._vectors)

    def load(self) -> None:
        """Read the file. One that cannot be read is treated as empty, with a warning, and replaced by ``save``."""
        self._vectors = self._read()

    def get(self, text: str) -> Vector | None:
        """Return the vector of ``text``, shape (d,), or None."""
        key = _key(text)
        vector = self._vectors.pop(key, None)
        if vector is not None:
            self._vectors[key] = vector
        return vector

    def put(self, text: str, vector: Vector) -> None:
        """Keep the vector of ``text``. A vector of another length than the others shows a new model and empties it."""
        if self._vectors and len(next(iter(self._vectors.values()))) != len(vector):
            self._vectors.clear()
        self._vectors[_key(text)] = np.asarray(vector, dtype=np.float32)
        self._changed = True

    def save(self) -> None:
        """Write the file, whole or not at all, if anything is new. A disk that refuses gives a warning."""
        if not self._changed or not self._vectors:
            return
        # Another process may have saved since; its vectors are kept behind ours.
        dimension = len(next(iter(self._vectors.values())))
        theirs = {k: v for k, v in self._read().items() if k not in self._vectors and len(v) == dimension}
        kept = list({**theirs, **self._vectors}.items())[-max(1, MAX_BYTES // (4 * dimension + _KEY_BYTES)) :]
        try:
            self._write(kept)
        except OSError as error:
            self._warn(
                f"vectors cannot be kept in {self._path} ({error.strerror or error}); this run goes on in memory, "
                "the next one embeds again. Free some space or set XDG_CACHE_HOME to another disk"
            )
        else:
            self._changed = False

    def _read(self) -> dict[bytes, Vector]:
        try:
            with self._path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                version, keys, vectors = int(content["format"]), content["keys"], content["vectors"]
            if version != _FORMAT or keys.dtype != np.uint8 or vectors.dtype != np.float32:
                raise ValueError(f"format {version} of {keys.dtype} and {vectors.dtype}")
            if keys.ndim != 2 or keys.shape[1] != _KEY_BYTES or vectors.ndim != 2 or len(keys) != len(vectors):
                raise ValueError(f"shapes {keys.shape} and {vectors.shape}")
            if not np.isfinite(vectors).all():
                raise ValueError("NaN or infinity among the vectors")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            self._warn(f"kept vectors in {self._path} cannot be read ({error}); they are made again")
            return {}
        return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}

    def _write(self, entries: list[tuple[bytes, Vector]]) -> None:
        keys = np.frombuffer(b"".join(key for key, _ in entries), dtype=np.uint8).reshape(-1, _KEY_BYTES)
        buffer = io.BytesIO()
        np.savez(buffer, format=np.int64(_FORMAT), keys=keys, vectors=np.stack([vector for _, vector in entries]))
        write_atomically(self._path, buffer.getvalue())


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file at ``path``; after a crash it holds either the old bytes or the new. Raises OSError."""
    private_dir(path.parent)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_folder(path.parent)


def cache_path(cache_dir: Path, name: str, model: str) -> Path:
    """Where the vectors of ``model`` are kept under the cache ``name``."""
    return cache_dir / "vectors" / f"{name}-{hashlib.sha256(model.encode()).hexdigest()[:16]}.npz"


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
