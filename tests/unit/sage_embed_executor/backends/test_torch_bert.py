"""The backend of our own; what it shares with the others is in tests/contracts/test_embedding_backends.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sage_embed_executor.backends.backend import Runtime
from sage_embed_executor.models.model_folder import ModelFolder


def test_every_linear_layer_implementation_gives_the_same_values() -> None:
    import torch

    from sage_embed_executor.backends.torch_linear import PACKED, PLAIN, fastest_linear

    generator = torch.Generator().manual_seed(3)
    weight, bias, x = (torch.randn(shape, generator=generator) for shape in ((48, 32), (48,), (7, 32)))
    assert fastest_linear(32, 48, torch.float32, torch.device("cpu")) in (PLAIN, PACKED)
    for gelu in (False, True):
        expected = torch.nn.functional.linear(x, weight, bias)
        expected = torch.nn.functional.gelu(expected) if gelu else expected
        for kind in (PLAIN, PACKED):
            assert torch.allclose(kind.make(weight, bias, gelu)(x), expected, atol=1e-5), (kind.name, gelu)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"config": {"model_type": "mpnet"}}, "model type 'mpnet', expected 'bert'"),
        ({"config": {"model_type": "bert", "hidden_act": "gelu_new"}}, "only absolute positions and exact GELU"),
        ({"modules": ("Transformer", "Pooling", "Dense")}, "modules Transformer, Pooling, Dense"),
        ({"pooling": {"pooling_mode_max_tokens": True}}, "pooling is neither the mean nor the first token"),
    ],
)
def test_a_model_that_the_fast_backend_would_get_wrong_is_left_to_the_library(
    folder: ModelFolder, change: dict[str, object], problem: str
) -> None:
    from sage_embed_executor.backends import torch_bert

    assert torch_bert.supports(folder, Runtime()) == ""
    assert torch_bert.supports(replace(folder, **change), Runtime()) == problem  # type: ignore[arg-type]


def test_rows_are_rounded_to_few_sizes_without_much_waste() -> None:
    from sage_embed_executor.backends.torch_linear import rounded_rows

    sizes = [rounded_rows(rows) for rows in range(1, 513)]
    assert all(rows <= size <= max(rows + 7, rows * 9 / 8) for rows, size in enumerate(sizes, start=1))
    assert len(set(sizes)) <= 32


@pytest.mark.parametrize("kind", ["PLAIN", "PACKED"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_onednn_sees_rounded_rows_whichever_layer_computes(
    kind: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from sage_embed_executor.backends import torch_linear

    weight, bias = torch.rand(16, 8, dtype=getattr(torch, dtype)), torch.zeros(16, dtype=getattr(torch, dtype))
    layer = getattr(torch_linear, kind).make(weight, bias, False)
    seen = []
    plain = torch.nn.functional.linear

    def spied(x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape[0])
        return plain(x, *rest)

    monkeypatch.setattr(torch_linear.functional, "linear", spied)
    for rows in (1, 8, 19):
        x = torch.rand(rows, 8, dtype=weight.dtype)
        y = layer(x)
        assert y.shape == (rows, 16)
        torch.testing.assert_close(y, plain(x, weight, bias))
    expected = {"PLAIN": {"float32": [1, 8, 19], "bfloat16": [8, 8, 24]}}
    assert seen == expected.get(kind, {}).get(dtype, [])
