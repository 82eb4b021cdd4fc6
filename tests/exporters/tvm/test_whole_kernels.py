"""Kernels of whole models against NumPy and PyTorch, at sizes that are no multiple of anything."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("tvm", reason="paring[tvm] is not installed")

from paring.transforms._shift.layer import Form, ShiftLinear
from paring.transforms._shift.op import weight_of
from paring_exporters.tvm.build import build, empty, tensor
from paring_exporters.tvm.shift_linear import tile_for, untuned
from paring_exporters.tvm.shift_problem import ShiftShape
from paring_exporters.tvm.shift_weights import kernel_weights
from paring_exporters.tvm.target import host_target, portable_target
from paring_exporters.tvm_graph.kernels.attention import Attention, Place, attention
from paring_exporters.tvm_graph.kernels.dense import Dense, Tiling, dense, padded, panels_of, tiling_for
from paring_exporters.tvm_graph.kernels.layer_norm import LayerNorm, layer_norm
from paring_exporters.tvm_graph.kernels.shift import (
    float_layer,
    integer_layer,
    paired,
    quantise,
    words_of,
)
from paring_exporters.tvm_graph.tuning import candidates


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("activation", "residual"), [("", True), ("gelu", False), ("gelu", True)])
def test_dense_of_an_open_batch(activation: str, residual: bool) -> None:
    target = host_target(2)
    layer, tiling = Dense((13,), 30, 43, None, activation, residual), tiling_for(target)
    run = build({"dense": dense("dense", layer, tiling)}, target)["dense"]
    weight, bias = draw(43, 30), draw(43)
    constants = [tensor(panels_of(weight, tiling.panel)), tensor(padded(bias, 43, tiling.panel))]
    for batch in (1, 3):
        x, other, y = draw(batch, 13, 30), draw(batch, 13, 43), empty((batch, 13, 43), "float32")
        run(tensor(x), *constants, *([tensor(other)] if residual else []), y)
        expected = nn.functional.linear(*map(torch.from_numpy, (x, weight, bias)))
        expected = nn.functional.gelu(expected) if activation else expected
        expected = expected + torch.from_numpy(other) if residual else expected
        np.testing.assert_allclose(y.numpy(), expected, atol=2e-5, rtol=1e-5)


def test_every_tiling_that_is_tried_gives_the_same_numbers() -> None:
    target, weight, bias = host_target(2), draw(43, 30), draw(43)
    layer = Dense((67,), 30, 43, None, "gelu", True)
    shapes = ((6, 16), (3, 32, 2), (5, 16, 4, 48), (12, 32, 2, 96))
    tried = [Tiling(*shape) for shape in shapes]
    names = {f"dense{i}": tiling for i, tiling in enumerate(tried)}
    library = build({name: dense(name, layer, tiling, 2) for name, tiling in names.items()}, target)
    for batch in (1, 3):
        x, other = draw(batch, 67, 30), draw(batch, 67, 43)
        expected = nn.functional.gelu(nn.functional.linear(*map(torch.from_numpy, (x, weight, bias))))
        for name, tiling in names.items():
            y = empty((batch, 67, 43), "float32")
            constants = [tensor(panels_of(weight, tiling.panel)), tensor(padded(bias, 43, tiling.panel))]
            library[name](tensor(x), *constants, tensor(other), y)
            np.testing.assert_allclose(
                y.numpy(), expected + torch.from_numpy(other), atol=2e-5, rtol=1e-5, err_msg=str(tiling)
            )


def test_tilings_that_are_tried_begin_with_the_untuned_one_and_vary_all_that_is_free() -> None:
    target = host_target(2)
    tried = candidates(Dense((67,), 30, 43, 3), target)
    assert tried[0] == tiling_for(target)
    assert len(set(tried)) == len(tried)
    for name in Tiling._fields:
        assert len({getattr(tiling, name) for tiling in tried}) > 1
    assert max(tiling.block for tiling in tried) < 3 * 67


def test_attention_reads_heads_where_they_stand() -> None:
    heads, tokens, dim = 3, 21, 16
    wide = 3 * heads * dim
    places = [Place(0, tokens * wide, dim, wide, part * heads * dim) for part in range(3)]
    out = Place(1, tokens * heads * dim, dim, heads * dim)
    layer = Attention(heads, tokens, dim, 0.3, ((tokens, wide), (tokens, heads * dim)), *places, out)
    target = host_target(2)
    run = build({"attention": attention("attention", layer, tiling_for(target), 2)}, target)["attention"]
    x, y = 3 * draw(2, tokens, wide), empty((2, tokens, heads * dim), "float32")
    run(tensor(x), y)
    query, key, value = torch.from_numpy(x).reshape(2, tokens, 3, heads, dim).permute(2, 0, 3, 1, 4)
    expected = nn.functional.scaled_dot_product_attention(query, key, value, scale=0.3)
    np.testing.assert_allclose(
        y.numpy(), expected.transpose(1, 2).reshape(2, tokens, -1), atol=2e-5, rtol=1e-5
    )


@pytest.mark.parametrize("width", [48, 30, 7])
def test_layer_norm(width: int) -> None:
    norm = LayerNorm((5,), width, 1e-6)
    run = build({"norm": layer_norm("norm", norm, 2)}, host_target(2))["norm"]
    x, weight, bias, y = draw(2, 5, width) + 3, draw(width), draw(width), empty((2, 5, width), "float32")
    run(*map(tensor, (x, weight, bias)), y)
    expected = nn.functional.layer_norm(
        *map(torch.from_numpy, (x,)), (width,), *map(torch.from_numpy, (weight, bias)), 1e-6
    )
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("portable", [False, True])
def test_shift_layers_in_integers_and_in_floats(portable: bool) -> None:
    target = portable_target(2) if portable else host_target(2)
    layer, tiling = Dense((9,), 70, 21, None, "", True), tiling_for(target)
    shift = ShiftLinear.from_linear(nn.Linear(70, 21), Form())
    (term,), bias = shift.packed(), shift.bias.detach().numpy()
    tile = tile_for(target, ShiftShape(1, 70, 21), untuned(target))
    library = build(
        {
            "quantise": quantise("quantise", layer, 2),
            "integer": integer_layer("integer", layer, tile),
            "float": float_layer("float", layer, tiling),
        },
        target,
    )
    x, other, y = draw(2, 9, 70), draw(2, 9, 21), empty((2, 9, 21), "float32")
    rounded = [empty((2, 9, words_of(70)), "int32"), empty((2, 9, 1), "float32"), empty((2, 9, 1), "int32")]
    library["quantise"](tensor(x), *rounded)
    packed = kernel_weights(term.nibbles.numpy(), None, term.scale.numpy(), bias, 70, tile.order)
    constants = [tensor(one) for one in (packed.weight, packed.scale, packed.bias)]
    library["integer"](*rounded, *constants, tensor(other), y)
    # The same arithmetic in PyTorch: int8 by row, an exact sum, both scales.
    step = np.abs(x).max(-1, keepdims=True) / 127
    weight = weight_of(term.nibbles, None, term.scale, 70, 4).numpy()
    np.testing.assert_allclose(y.numpy(), np.round(x / step) * step @ weight.T + bias + other, atol=2e-5)
    scales = padded(term.scale.numpy(), 21, tiling.panel)
    pairs = paired(term.nibbles.numpy(), 70, tiling.panel)
    assert pairs.nbytes * 2 == pairs.shape[0] * tiling.panel * 70  # 4 bits a weight
    library["float"](*map(tensor, (x, pairs, scales, padded(bias, 21, tiling.panel), other)), y)
    np.testing.assert_allclose(y.numpy(), x @ weight.T + bias + other, atol=2e-5)
