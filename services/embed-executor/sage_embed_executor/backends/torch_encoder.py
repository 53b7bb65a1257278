"""A BERT encoder in plain torch: the same arithmetic as sentence-transformers' modules, with faster linear layers.

Source: Devlin et al., "BERT" (arXiv 1810.04805); pooling as in Reimers and Gurevych (arXiv 1908.10084).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sage_embed_executor.backends.backend import Vectors, pad
from sage_embed_executor.backends.torch_linear import Linear, LinearKind, fastest_linear
from sage_embed_executor.exports.export_form import Precision
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.models.tokenizer import TokenIds

DTYPES = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16}


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


class BertEncoder:
    """A BERT encoder with its pooling.

    Args:
        pooling: ``"mean"`` of the tokens, or ``"first"`` token.
        weights: tensors by the names of ``model.safetensors``, in the precision to compute in.
    """

    def __init__(self, folder: ModelFolder, pooling: str, weights: dict[str, Tensor]) -> None:
        config = folder.config
        self._heads = int(config["num_attention_heads"])
        self._pooling = pooling
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
        precision = next(name.value for name, dtype in DTYPES.items() if dtype is self._words.dtype)
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
