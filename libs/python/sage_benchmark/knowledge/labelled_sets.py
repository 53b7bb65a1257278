"""Sets of labelled questions with the documents that they are about, which may be those that a package ships."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import orjson

from sage_benchmark.knowledge.labelled_questions import LabelledQuestion, read_questions
from sage_common.errors import NotFoundError, UnprocessableError

SETS_FILE = "sets.json"


@dataclass(frozen=True)
class LabelledSet:
    """Documents, and questions about them.

    Attributes:
        folder: of the documents.
        files: patterns of those that count, relative to it.
    """

    name: str
    folder: Path
    files: tuple[str, ...]
    questions: tuple[LabelledQuestion, ...]

    def copy_documents(self, target: Path) -> None:
        """Copy the documents into the folder ``target``, which is made. Raises OSError."""
        target.mkdir(parents=True)
        for pattern in self.files:
            for file in self.folder.glob(pattern):
                copy = target / file.relative_to(self.folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


def read_sets(folder: Path) -> list[LabelledSet]:
    """Read ``sets.json`` of a folder and, beside it, the questions of each set, ``NAME.tsv``.

    Raises:
        NotFoundError: a file is missing, or a package that ships documents is not installed.
        UnprocessableError: ``sets.json`` cannot be understood.
    """
    file = folder / SETS_FILE
    if not file.is_file():
        raise NotFoundError(f"{file} is not there; name a folder with labelled sets")
    sets = []
    try:
        for entry in orjson.loads(file.read_bytes()):
            questions = tuple(read_questions(folder / f"{entry['name']}.tsv"))
            documents = _documents(folder, entry.get("package"), entry["folder"])
            sets.append(LabelledSet(entry["name"], documents, tuple(entry["files"]), questions))
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UnprocessableError(f"{file} cannot be understood: {error!r}", code="labelled_sets") from error
    return sets


def _documents(folder: Path, package: str | None, inside: str) -> Path:
    if package is None:
        return (folder / inside).resolve()
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise NotFoundError(f"the package {package!r}, whose documents are asked about, is not installed")
    found = sorted(Path(spec.origin).parent.glob(inside))
    if not found:
        raise NotFoundError(f"the package {package!r} has no folder {inside}; install the version that is pinned")
    return found[0]
