"""The operator that backends lower by its name, `paring::shift_linear`, with its reference."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from .codes import Packed, decode, unpack


@torch.library.custom_op("paring::shift_linear", mutates_args=())
def shift_linear(
    x: torch.Tensor,
    nibbles: torch.Tensor,
    signs: torch.Tensor | None,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    in_features: int,
    bits: int,
    group: int,
) -> torch.Tensor:
    """x times the decoded weights, transposed, plus bias: [..., K] -> [..., N].

    Args:
        x: [..., K], floating.
        nibbles: [N, ceil(K / 2)] uint8, see `codes`.
        signs: [N, ceil(K / 8)] uint8 for 5 bits, None for 4.
        scale: [1], [N] or [N, K / group].
        bias: [N] or None.
        in_features: K.
        bits: 4 or 5.
        group: weights of a row that share a scale; 0 where the scale is the tensor's or the row's.
    """
    return functional.linear(x, weight_of(nibbles, signs, scale, in_features, bits).to(x.dtype), bias)


def weight_of(
    nibbles: torch.Tensor, signs: torch.Tensor | None, scale: torch.Tensor, in_features: int, bits: int
) -> torch.Tensor:
    """The decoded weights [N, K], in the dtype of `scale`."""
    return decode(unpack(Packed(nibbles, signs), in_features, bits), scale, bits)


@shift_linear.register_fake
def _(
    x: torch.Tensor,
    nibbles: torch.Tensor,
    signs: torch.Tensor | None,
    scale: torch.Tensor,
    bias: torch.Tensor | None,
    in_features: int,
    bits: int,
    group: int,
) -> torch.Tensor:
    return x.new_empty(*x.shape[:-1], nibbles.shape[0])


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
    """With respect to x and bias; codes and scale are constants here."""
    nibbles, signs, scale = ctx.saved_tensors
    weight = weight_of(nibbles, signs, scale, ctx.in_features, ctx.bits).to(gradient.dtype)
    bias = gradient.flatten(0, -2).sum(0) if ctx.has_bias else None
    return gradient @ weight, None, None, None, bias, None, None, None


def _context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    _, nibbles, signs, scale, bias, ctx.in_features, ctx.bits, _ = inputs
    ctx.save_for_backward(nibbles, signs, scale)
    ctx.has_bias = bias is not None


shift_linear.register_autograd(_backward, setup_context=_context)
