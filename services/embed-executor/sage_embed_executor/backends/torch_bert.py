"""BERT encoders (MiniLM, BGE, E5, GTE ...) in plain torch, fp32 or bf16, straight from ``model.safetensors``.

No import of ``transformers``: ready in about a quarter of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sage_common.errors import ConfigurationError
from sage_embed_executor.backends.backend import BackendEntry, Runtime
from sage_embed_executor.exports.export_form import Precision
from sage_embed_executor.models.model_folder import ModelFolder

if TYPE_CHECKING:
    from sage_embed_executor.backends.torch_encoder import BertEncoder

WEIGHTS_FILE = "model.safetensors"

BACKEND = BackendEntry(__name__, (Precision.FP32, Precision.BF16), ("torch", "safetensors"), "torch", reference=True)


def supports(folder: ModelFolder, runtime: Runtime) -> str:
    """Return why this backend cannot run a model with ``runtime``; empty when it can."""
    if not device_exists(runtime.device):
        return f"torch sees no device {runtime.device!r}"
    config = folder.config
    if config.get("model_type") != "bert":
        return f"model type {config.get('model_type')!r}, expected 'bert'"
    if config.get("position_embedding_type", "absolute") != "absolute" or config.get("hidden_act") != "gelu":
        return "only absolute positions and exact GELU"
    if folder.modules not in (("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize")):
        return f"modules {', '.join(folder.modules)}"
    if pooling_of(folder) is None:
        return "pooling is neither the mean nor the first token"
    if not (folder.path / WEIGHTS_FILE).exists():
        return f"no {WEIGHTS_FILE}"
    return ""


def load(folder: ModelFolder, runtime: Runtime) -> BertEncoder:
    """Load a model that is supported. Raises ConfigurationError when its weights cannot be read or do not fit."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from sage_embed_executor.backends.torch_encoder import DTYPES, BertEncoder

    # Process-wide in torch; every model of this process is given the same.
    torch.set_num_threads(runtime.threads)
    dtype = DTYPES[runtime.precision]
    pooling = pooling_of(folder)
    assert pooling is not None
    try:
        weights = load_file(str(folder.path / WEIGHTS_FILE), device=runtime.device)
        return BertEncoder(folder, pooling, {name.removeprefix("bert."): w.to(dtype) for name, w in weights.items()})
    except (SafetensorError, KeyError, OSError) as error:
        raise ConfigurationError(f"cannot read {folder.path / WEIGHTS_FILE}: {error!r}") from None


def device_exists(device: str) -> bool:
    """Return whether torch can compute on a device; imports torch only for another one than ``cpu``."""
    if not device.startswith("cuda"):
        return True
    import torch

    return torch.cuda.is_available()


def pooling_of(folder: ModelFolder) -> str | None:
    """Return ``"mean"`` or ``"first"``; None for a pooling that this backend does not compute."""
    modes = {name for name, on in folder.pooling.items() if name.startswith("pooling_mode_") and on is True}
    # Newer files name one mode instead of one switch each.
    named = folder.pooling.get("pooling_mode")
    if named is not None:
        modes = {f"pooling_mode_{named}"}
    if modes in ({"pooling_mode_mean_tokens"}, {"pooling_mode_mean"}):
        return "mean"
    return "first" if modes in ({"pooling_mode_cls_token"}, {"pooling_mode_cls"}) else None
