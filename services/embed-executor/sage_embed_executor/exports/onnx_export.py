"""Exports for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import torch

from sage_embed_executor.exports.traceable import INPUTS, OUTPUT, traceable
from sage_embed_executor.models.model_folder import ModelFolder

FILE = "model.onnx"
# The first with LayerNormalization as one operator.
OPSET = 17
# Blocks of 128 halve the margin to the quality gate (least cosine 0.993, here 0.997).
BLOCK_SIZE = 64
# ONNX Runtime's name for quantising the activations too.
INT8_PRODUCTS = 4


def trace(folder: ModelFolder, target: Path) -> None:
    """Write the model with batch and length left open."""
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
    """Weights in int8 with a scale for each block of a row; activations are quantised by the same blocks as they come.

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
