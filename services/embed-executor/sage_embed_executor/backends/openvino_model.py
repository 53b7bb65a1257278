"""A model on OpenVINO: fp32, bf16 as the processor can, int8 weights. Reads an export; imports no torch."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import openvino

from sage_common.errors import ConfigurationError
from sage_embed_executor.backends.backend import Precision, Runtime, Vectors, pad
from sage_embed_executor.exports.export_cache import exported
from sage_embed_executor.exports.export_form import OPENVINO
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TokenIds

FILE = "model.xml"
# Activations of an int8 product share a scale in groups of this many: 128 is 0-5 % faster and costs half the margin
# to the quality gate (least cosine 0.991, here 0.995).
GROUP_SIZE = 64
# Kernels that a stream keeps, one a shape; without a limit memory grows with each new shape, up to gigabytes.
KERNELS = 64


def supports(folder: ModelFolder, runtime: Runtime) -> str:
    """Say why this backend cannot run a model so; empty when it can. What cannot be exported shows on loading."""
    return "" if runtime.device == "cpu" else f"runs on the cpu, not on {runtime.device!r}"


def load(folder: ModelFolder, runtime: Runtime) -> OpenVinoModel:
    """Load a model, exported first if need be. Raises ConfigurationError when it cannot be exported or read."""
    stored = Precision.INT8 if runtime.precision is Precision.INT8 else Precision.FP32
    export = exported(folder, OPENVINO, stored, runtime.children)
    core = openvino.Core()
    properties = {
        "NUM_STREAMS": runtime.streams,
        "INFERENCE_NUM_THREADS": runtime.streams * runtime.threads,
        # Other processes share the processors; pinned streams would queue behind them.
        "ENABLE_CPU_PINNING": False,
        "CPU_RUNTIME_CACHE_CAPACITY": str(KERNELS),
        "INFERENCE_PRECISION_HINT": "f32" if runtime.precision is Precision.FP32 else _widest(core),
    }
    if runtime.precision is Precision.INT8:
        properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = GROUP_SIZE
    try:
        compiled = core.compile_model(core.read_model(export / FILE), "CPU", properties)
    except RuntimeError as error:
        raise ConfigurationError(f"OpenVINO cannot load {export}: {error}") from None
    return OpenVinoModel(compiled, runtime.precision)


class OpenVinoModel:
    """A compiled model. Calls share it; each takes an inference request of its own."""

    def __init__(self, compiled: openvino.CompiledModel, precision: Precision) -> None:
        self._compiled = compiled
        self._precision = precision
        self._idle: list[openvino.InferRequest] = []
        self._lock = threading.Lock()
        self._dimensions = int(self.embed([np.array([0, 1], dtype=np.int32)]).shape[1])

    @property
    def dimensions(self) -> int:
        return self._dimensions

    @property
    def description(self) -> str:
        return f"openvino {openvino.__version__.split('-')[0]} {self._precision.value}"

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


def _widest(core: openvino.Core) -> str:
    capable: list[str] = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in capable else "f32"
