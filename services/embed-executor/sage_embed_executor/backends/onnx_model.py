"""A model on ONNX Runtime, fp32 or int8, and the export that it reads. Serving imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sage_common.errors import ConfigurationError
from sage_embed_executor.backends.backend import BackendEntry, Runtime, Vectors, pad
from sage_embed_executor.exports.export_cache import exported
from sage_embed_executor.exports.export_form import TRACING_DISTRIBUTIONS, ExportForm, Precision
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TokenIds

if TYPE_CHECKING:
    import onnxruntime

FILE = "model.onnx"
# The first with LayerNormalization as one operator.
OPSET = 17
# Blocks of 128 halve the margin to the quality gate (least cosine 0.993, here 0.997).
BLOCK_SIZE = 64
# ONNX Runtime's name for quantising the activations too.
INT8_PRODUCTS = 4

EXPORT = ExportForm(
    "onnx",
    __name__,
    "onnxruntime",
    {
        Precision.FP32: (*TRACING_DISTRIBUTIONS, "onnx"),
        Precision.INT8: (*TRACING_DISTRIBUTIONS, "onnx", "onnx-ir", "onnxruntime"),
    },
    revision=1,
)
BACKEND = BackendEntry(__name__, (Precision.FP32, Precision.INT8), ("onnxruntime",), "onnx", EXPORT)


def supports(folder: ModelFolder, runtime: Runtime) -> str:
    """Return why this backend cannot run a model with ``runtime``; empty when it can."""
    # A model that cannot be exported fails on loading.
    return "" if runtime.device == "cpu" else f"runs on the cpu, not on {runtime.device!r}"


def load(folder: ModelFolder, runtime: Runtime) -> OnnxModel:
    """Load a model, exported first if need be. Raises ConfigurationError when it cannot be exported or read."""
    import onnxruntime

    export = exported(folder, EXPORT, runtime.precision, runtime.children)
    options = onnxruntime.SessionOptions()
    # The calling thread computes; with one thread a call, streams share nothing but the weights.
    options.intra_op_num_threads = runtime.threads
    options.inter_op_num_threads = 1
    # Both keep memory for each shape that was ever seen.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    try:
        session = onnxruntime.InferenceSession(str(export / FILE), options, providers=["CPUExecutionProvider"])
    except RuntimeError as error:
        raise ConfigurationError(f"ONNX Runtime cannot load {export}: {error}") from None
    return OnnxModel(session, f"onnxruntime {onnxruntime.__version__} {runtime.precision.value}")


class OnnxModel:
    """A session; its ``run`` is thread-safe."""

    def __init__(self, session: onnxruntime.InferenceSession, description: str) -> None:
        self._session = session
        self._description = description
        self._dimensions = int(self.embed([np.array([0, 1], dtype=np.int32)]).shape[1])

    @property
    def dimensions(self) -> int:
        return self._dimensions

    @property
    def description(self) -> str:
        return self._description

    def embed(self, batch: Sequence[TokenIds]) -> Vectors:
        padded = pad(batch)
        vectors: Vectors = self._session.run(None, {"input_ids": padded.ids, "attention_mask": padded.int_mask})[0]
        return vectors


def trace(folder: ModelFolder, target: Path) -> None:
    """Write the model in fp32 into ``target``, with batch and length left open."""
    import torch

    from sage_embed_executor.exports.traceable import INPUTS, OUTPUT, traceable

    module, example = traceable(folder)
    with torch.no_grad():
        torch.onnx.export(
            module,
            example,
            str(target / FILE),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in INPUTS} | {OUTPUT: {0: "texts"}},
            opset_version=OPSET,
            # The exporter that needs no further package.
            dynamo=False,
        )


def reduce(source: Path, target: Path) -> None:
    """Write int8 weights with a scale for each block of a row; activations are quantised by the same blocks.

    One scale for a whole batch's activations (``quantize_dynamic``) would make a vector depend on what shares its
    batch, by 0.01 a component on MiniLM, and fails the quality gate (least cosine 0.955).
    """
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        onnx.load(source / FILE), bits=8, block_size=BLOCK_SIZE, is_symmetric=True, accuracy_level=INT8_PRODUCTS
    )
    quantizer.process()
    onnx.save(quantizer.model.model, target / FILE)
