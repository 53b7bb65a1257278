"""The forms in which models are exported: one entry each, and one module that makes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sage_embed_executor.backends.backend import Precision
from sage_embed_executor.models.model_folder import ModelFolder


class ExportModule(Protocol):
    """A module that makes exports. Importing it imports its framework."""

    def trace(self, folder: ModelFolder, target: Path) -> None:
        """Write the model in fp32 into the folder ``target``."""
        ...

    def reduce(self, source: Path, target: Path) -> None:
        """Read an fp32 export from the folder ``source`` and write it in int8 into ``target``."""
        ...


@dataclass(frozen=True, slots=True)
class ExportForm:
    """A form.

    Attributes:
        module: see ExportModule.
        runtime: distribution that reads it.
        makers: distributions that make it, by the precision that needs them.
        revision: raised when the module comes to write something else.
    """

    name: str
    module: str
    runtime: str
    makers: dict[Precision, tuple[str, ...]]
    revision: int


_TRACING = ("torch", "transformers", "sentence-transformers")

OPENVINO = ExportForm(
    "openvino",
    "sage_embed_executor.exports.openvino_export",
    "openvino",
    {Precision.FP32: (*_TRACING, "openvino"), Precision.INT8: (*_TRACING, "openvino", "nncf")},
    revision=1,
)
ONNX = ExportForm(
    "onnx",
    "sage_embed_executor.exports.onnx_export",
    "onnxruntime",
    {Precision.FP32: (*_TRACING, "onnx"), Precision.INT8: (*_TRACING, "onnx", "onnx-ir", "onnxruntime")},
    revision=1,
)
FORMS = {form.name: form for form in (OPENVINO, ONNX)}
