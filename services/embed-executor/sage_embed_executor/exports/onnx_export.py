"""Exports for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import torch

from sage_embed_executor.exports.traceable import INPUTS, OUTPUT, traceable
from sage_embed_executor.model_folder import ModelFolder

FILE = "model.onnx"
# The first with LayerNormalization as one operator.
OPSET = 17


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
    """Weights in int8 with a scale for each output; activations are quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source / FILE, target / FILE, per_channel=True, weight_type=QuantType.QInt8)
