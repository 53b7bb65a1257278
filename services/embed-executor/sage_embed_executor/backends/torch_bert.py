"""BERT encoders (MiniLM, BGE, E5, GTE ...) in plain torch, fp32 or bf16, straight from ``model.safetensors``.

The same arithmetic as sentence-transformers' modules, without importing ``transformers``: ready in about a quarter
of the time. Source: Devlin et al., "BERT" (arXiv 1810.04805); pooling as in Reimers and Gurevych (arXiv 1908.10084).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from sage_common.errors import ConfigurationError
from sage_embed_executor.backends.backend import Precision, Runtime, Vectors, pad
from sage_embed_executor.backends.torch_linear import Linear, LinearKind, fastest_linear
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TokenIds

WEIGHTS_FILE = "model.safetensors"


_DTYPES = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16}


def supports(folder: ModelFolder, runtime: Runtime) -> str:
    """Say why this backend cannot run a model so; empty when it can."""
    if runtime.device.startswith("cuda") and not torch.cuda.is_available():
        return f"torch sees no device {runtime.device!r}"
    config = folder.config
    if config.get("model_type") != "bert":
        return f"model type {config.get('model_type')!r}, expected 'bert'"
    if config.get("position_embedding_type", "absolute") != "absolute" or config.get("hidden_act") != "gelu":
        return "only absolute positions and exact GELU"
    if folder.modules not in (("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize")):
        return f"modules {', '.join(folder.modules)}"
    if _pooling(folder) is None:
        return "pooling is neither the mean nor the first token"
    if not (folder.path / WEIGHTS_FILE).exists():
        return f"no {WEIGHTS_FILE}"
    return ""


def load(folder: ModelFolder, runtime: Runtime) -> TorchBert:
    """Load a model. Raises ConfigurationError when the weights do not fit."""
    # Process-wide in torch; every model of this process is given the same.
    torch.set_num_threads(runtime.threads)
    dtype = _DTYPES[runtime.precision]
    try:
        weights = load_file(str(folder.path / WEIGHTS_FILE), device=runtime.device)
        return TorchBert(folder, {name.removeprefix("bert."): w.to(dtype) for name, w in weights.items()})
    except (SafetensorError, KeyError, OSError) as error:
        raise ConfigurationError(f"cannot read {folder.path / WEIGHTS_FILE}: {error!r}") from None


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class _Layer:
    # Queries, keys and values in one product.
    attention: Linear
    attention_output: Linear
    attention_norm: _Norm
    widen: Linear
    narrow: Linear
    output_norm: _Norm


class TorchBert:
    """A BERT encoder with its pooling."""

    def __init__(self, folder: ModelFolder, weights: dict[str, Tensor]) -> None:
        config = folder.config
        self._heads = int(config["num_attention_heads"])
        self._pooling = _pooling(folder)
        self._normalise = "Normalize" in folder.modules
        self._words = weights["embeddings.word_embeddings.weight"]
        # One segment only, so its embedding belongs to every position's.
        segment = weights["embeddings.token_type_embeddings.weight"][0]
        self._positions = weights["embeddings.position_embeddings.weight"] + segment
        self._width = int(self._words.shape[1])
        self._device = self._words.device
        kind = fastest_linear(self._width, int(config["intermediate_size"]), self._words.dtype, self._device)
        epsilon = float(config.get("layer_norm_eps", 1e-12))
        self._norm = _norm(weights, "embeddings.LayerNorm", epsilon)
        count = int(config["num_hidden_layers"])
        self._layers = [_layer(weights, f"encoder.layer.{number}", epsilon, kind) for number in range(count)]
        self._kind = kind

    @property
    def dimensions(self) -> int:
        return self._width

    @property
    def description(self) -> str:
        precision = next(name.value for name, dtype in _DTYPES.items() if dtype is self._words.dtype)
        return f"torch {torch.__version__} {precision} on {self._device}, {self._kind.name}"

    def embed(self, batch: Sequence[TokenIds]) -> Vectors:
        padded = pad(batch)
        ids = torch.from_numpy(padded.ids).to(self._device)
        mask = None if padded.mask is None else torch.from_numpy(padded.mask).to(self._device)
        with torch.inference_mode():
            vectors: Vectors = self._embed(ids, mask).cpu().numpy()
        return vectors

    def _embed(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        texts, length = ids.shape
        rows, head_width = texts * length, self._width // self._heads
        x = self._norm(functional.embedding(ids, self._words) + self._positions[:length]).view(rows, self._width)
        attended = None if mask is None else mask[:, None, None, :]
        for layer in self._layers:
            split = layer.attention(x).view(texts, length, 3, self._heads, head_width)
            q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
            a = functional.scaled_dot_product_attention(q, k, v, attn_mask=attended)
            x = layer.attention_norm(x + layer.attention_output(a.transpose(1, 2).reshape(rows, self._width)))
            x = layer.output_norm(x + layer.narrow(layer.widen(x)))
        # In bf16 the sum over many tokens would lose what the layers kept.
        pooled = self._pool(x.view(texts, length, self._width).float(), mask)
        return functional.normalize(pooled, dim=1) if self._normalise else pooled

    def _pool(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self._pooling == "first":
            return x[:, 0].contiguous()
        if mask is None:
            return x.mean(dim=1)
        weight = mask.unsqueeze(2).to(x.dtype)
        return (x * weight).sum(dim=1) / weight.sum(dim=1)


def _pooling(folder: ModelFolder) -> str | None:
    modes = {name for name, on in folder.pooling.items() if name.startswith("pooling_mode_") and on is True}
    # Newer files name one mode instead of one switch each.
    named = folder.pooling.get("pooling_mode")
    if named is not None:
        modes = {f"pooling_mode_{named}"}
    if modes in ({"pooling_mode_mean_tokens"}, {"pooling_mode_mean"}):
        return "mean"
    return "first" if modes in ({"pooling_mode_cls_token"}, {"pooling_mode_cls"}) else None


def _norm(weights: dict[str, Tensor], name: str, epsilon: float) -> _Norm:
    return _Norm(weights[f"{name}.weight"], weights[f"{name}.bias"], epsilon)


def _layer(weights: dict[str, Tensor], name: str, epsilon: float, kind: LinearKind) -> _Layer:
    def linear(*names: str, gelu: bool = False) -> Linear:
        weight = torch.cat([weights[f"{name}.{n}.weight"] for n in names])
        return kind.make(weight, torch.cat([weights[f"{name}.{n}.bias"] for n in names]), gelu)

    return _Layer(
        attention=linear("attention.self.query", "attention.self.key", "attention.self.value"),
        attention_output=linear("attention.output.dense"),
        attention_norm=_norm(weights, f"{name}.attention.output.LayerNorm", epsilon),
        widen=linear("intermediate.dense", gelu=True),
        narrow=linear("output.dense"),
        output_norm=_norm(weights, f"{name}.output.LayerNorm", epsilon),
    )
