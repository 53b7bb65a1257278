"""A model on OpenVINO, fp32, bf16 where the processor has it, or int8 weights, and the export that it reads.

Serving imports no torch.
"""

from __future__ import annotations

import threading
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
    import openvino

FILE = "model.xml"
# Activations of an int8 product share a scale in groups of this many: 128 is 0-5 % faster and costs half the margin
# to the quality gate (least cosine 0.991, here 0.995).
GROUP_SIZE = 64
# Kernels that a stream keeps, one a shape; without a limit memory grows with each new shape, up to gigabytes.
KERNELS = 64

EXPORT = ExportForm(
    "openvino",
    __name__,
    "openvino",
    {
        Precision.FP32: (*TRACING_DISTRIBUTIONS, "openvino"),
        Precision.INT8: (*TRACING_DISTRIBUTIONS, "openvino", "nncf"),
    },
    revision=1,
)
BACKEND = BackendEntry(__name__, tuple(Precision), ("openvino",), "openvino", EXPORT, own_threads=True)


def supports(folder: ModelFolder, runtime: Runtime) -> str:
    """Return why this backend cannot run a model with ``runtime``; empty when it can."""
    # A model that cannot be exported fails on loading.
    return "" if runtime.device == "cpu" else f"runs on the cpu, not on {runtime.device!r}"


def load(folder: ModelFolder, runtime: Runtime) -> OpenVinoModel:
    """Load a model, exported first if need be. Raises ConfigurationError when it cannot be exported or read."""
    import openvino

    stored = Precision.INT8 if runtime.precision is Precision.INT8 else Precision.FP32
    export = exported(folder, EXPORT, stored, runtime.children)
    core = openvino.Core()
    properties = {
        "NUM_STREAMS": runtime.streams,
        "INFERENCE_NUM_THREADS": runtime.streams * runtime.threads,
        # Other processes share the processors; pinned streams would queue behind them.
        "ENABLE_CPU_PINNING": False,
        "CPU_RUNTIME_CACHE_CAPACITY": str(KERNELS),
        "INFERENCE_PRECISION_HINT": "f32" if runtime.precision is Precision.FP32 else _reduced_precision(core),
    }
    if runtime.precision is Precision.INT8:
        properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = GROUP_SIZE
    try:
        compiled = core.compile_model(core.read_model(export / FILE), "CPU", properties)
    except RuntimeError as error:
        raise ConfigurationError(f"OpenVINO cannot load {export}: {error}") from None
    return OpenVinoModel(compiled, f"openvino {openvino.__version__.split('-')[0]} {runtime.precision.value}")


class OpenVinoModel:
    """A compiled model. Calls share it; each takes an inference request for itself."""

    def __init__(self, compiled: openvino.CompiledModel, description: str) -> None:
        self._compiled = compiled
        self._description = description
        self._idle: list[openvino.InferRequest] = []
        self._lock = threading.Lock()
        self._dimensions = int(self.embed([np.array([0, 1], dtype=np.int32)]).shape[1])

    @property
    def dimensions(self) -> int:
        return self._dimensions

    @property
    def description(self) -> str:
        return self._description

    def embed(self, batch: Sequence[TokenIds]) -> Vectors:
        padded = pad(batch)
        with self._lock:
            request = self._idle.pop() if self._idle else self._compiled.create_infer_request()
        try:
            # The request's own memory is written again by its next inference, hence the copy.
            vectors: Vectors = np.array(request.infer([padded.ids, padded.int_mask])[0], dtype=np.float32)
        finally:
            with self._lock:
                self._idle.append(request)
        return vectors


def _reduced_precision(core: openvino.Core) -> str:
    capable: list[str] = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in capable else "f32"


def trace(folder: ModelFolder, target: Path) -> None:
    """Write the model in fp32 into ``target``, with batch and length left open."""
    import openvino
    import torch

    from sage_embed_executor.exports.traceable import INPUTS, traceable

    module, example = traceable(folder)
    with torch.no_grad():
        model = openvino.convert_model(
            module,
            example_input=dict(zip(INPUTS, example, strict=True)),
            input=[(name, openvino.PartialShape([-1, -1]), openvino.Type.i64) for name in INPUTS],
        )
    openvino.save_model(model, target / FILE, compress_to_fp16=False)


def reduce(source: Path, target: Path) -> None:
    """Write int8 weights with a scale and offset for each output; activations are quantised in groups when serving.

    Calibrated activations (``nncf.quantize``) fail the quality gate on MiniLM: cosine 0.93-0.97 on single texts.
    """
    import nncf
    import openvino

    model = openvino.Core().read_model(source / FILE)
    openvino.save_model(nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM), target / FILE)
