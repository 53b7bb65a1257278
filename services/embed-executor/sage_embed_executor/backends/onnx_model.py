"""A model on ONNX Runtime: fp32, or int8. Reads an export; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime

from sage_common.errors import ConfigurationError
from sage_embed_executor.backends.backend import Precision, Runtime, Vectors, pad
from sage_embed_executor.exports.export_cache import exported
from sage_embed_executor.exports.export_form import ONNX
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TokenIds

FILE = "model.onnx"


def supports(folder: ModelFolder, runtime: Runtime) -> str:
    """Say why this backend cannot run a model so; empty when it can. What cannot be exported shows on loading."""
    return "" if runtime.device == "cpu" else f"runs on the cpu, not on {runtime.device!r}"


def load(folder: ModelFolder, runtime: Runtime) -> OnnxModel:
    """Load a model, exported first if need be. Raises ConfigurationError when it cannot be exported or read."""
    export = exported(folder, ONNX, runtime.precision, runtime.children)
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
    return OnnxModel(session, runtime.precision)


class OnnxModel:
    """A session; its ``run`` may be called from several threads."""

    def __init__(self, session: onnxruntime.InferenceSession, precision: Precision) -> None:
        self._session = session
        self._precision = precision
        self._dimensions = int(self.embed([np.array([0, 1], dtype=np.int32)]).shape[1])

    @property
    def dimensions(self) -> int:
        return self._dimensions

    @property
    def description(self) -> str:
        return f"onnxruntime {onnxruntime.__version__} {self._precision.value}"

    def embed(self, batch: Sequence[TokenIds]) -> Vectors:
        padded = pad(batch)
        vectors: Vectors = self._session.run(None, {"input_ids": padded.ids, "attention_mask": padded.int_mask})[0]
        return vectors
