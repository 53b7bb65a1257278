"""What a model is exported to: a file format, at a precision, and the module that makes it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from sage_embed_executor.models.model_folder import ModelFolder

# What traces a model; see ``traceable``.
TRACING_DISTRIBUTIONS = ("torch", "transformers", "sentence-transformers")


class Precision(str, Enum):
    """The numbers that a model computes with; its vectors are float32 in any case."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


class ExportModule(Protocol):
    """A module that makes exports, of the form that it calls EXPORT. Its functions import its framework."""

    EXPORT: ExportForm

    def trace(self, folder: ModelFolder, target: Path) -> None:
        """Write the model in fp32 into the folder ``target``."""
        ...

    def reduce(self, source: Path, target: Path) -> None:
        """Read an fp32 export from the folder ``source`` and write it in int8 into the folder ``target``."""
        ...


@dataclass(frozen=True, slots=True)
class ExportForm:
    """A file format that models are exported to.

    Attributes:
        module: importable name of an ExportModule.
        runtime: distribution that reads it.
        makers: distributions that make it, by the precision that needs them.
        revision: raised when the module changes what it writes.
    """

    name: str
    module: str
    runtime: str
    makers: dict[Precision, tuple[str, ...]]
    revision: int
