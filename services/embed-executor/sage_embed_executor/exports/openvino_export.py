"""Exports for OpenVINO."""

from __future__ import annotations

from pathlib import Path

import openvino
import torch

from sage_embed_executor.exports.traceable import INPUTS, traceable
from sage_embed_executor.models.model_folder import ModelFolder

FILE = "model.xml"


def trace(folder: ModelFolder, target: Path) -> None:
    """Write the model with batch and length left open."""
    module, example = traceable(folder)
    with torch.no_grad():
        model = openvino.convert_model(
            module,
            example_input=dict(zip(INPUTS, example, strict=True)),
            input=[(name, openvino.PartialShape([-1, -1]), openvino.Type.i64) for name in INPUTS],
        )
    openvino.save_model(model, target / FILE, compress_to_fp16=False)


def reduce(source: Path, target: Path) -> None:
    """Weights in int8 with a scale and offset for each output; activations are quantised in groups as they come.

    Calibrated activations (``nncf.quantize``) fail the quality gate on MiniLM: cosine 0.93-0.97 on single texts.
    """
    import nncf

    model = openvino.Core().read_model(source / FILE)
    openvino.save_model(nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM), target / FILE)
