"""Attention over binary queries and keys as operators that backends lower as they do it best.

out = 0.5 v + (1/pi) q_b k_b^T v,  q_b and k_b in {0, 1}

Either product may come first: q_b (k_b^T v) costs N d b selected additions each way, (q_b k_b^T) v costs N^2
popcounts of b bits and then a product of N x N with v. The mathematics is the same, so each is an operator of
its own, whose name says which order a backend is to take.
"""

from __future__ import annotations

import math
from typing import Any

import torch


@torch.library.custom_op("paring::binary_attention", mutates_args=())
def binary_attention(qb: torch.Tensor, kb: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The linear form, q_b (k_b^T v): qb [B, H, N, b], kb [B, H, M, b] bool or uint8, v [B, H, M, d].

    N and M are equal, as 0.5 v is added to each query's own token. Returns [B, H, N, d].
    """
    return linear_form(qb.to(v.dtype), kb.to(v.dtype), v)


@torch.library.custom_op("paring::binary_attention_quadratic", mutates_args=())
def binary_attention_quadratic(qb: torch.Tensor, kb: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The quadratic form, (q_b k_b^T) v, whose scores are popcounts of q_b & k_b. As `binary_attention`."""
    return quadratic_form(qb.to(v.dtype), kb.to(v.dtype), v)


def linear_form(qb: torch.Tensor, kb: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """0.5 v + (1/pi) q_b (k_b^T v) of bits that are given as numbers."""
    return 0.5 * v + (1 / math.pi) * (qb @ (kb.transpose(-2, -1) @ v))


def quadratic_form(qb: torch.Tensor, kb: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """0.5 v + (1/pi) (q_b k_b^T) v of bits that are given as numbers."""
    return 0.5 * v + (1 / math.pi) * ((qb @ kb.transpose(-2, -1)) @ v)


@binary_attention.register_fake
def _(qb: torch.Tensor, kb: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(v)


@binary_attention_quadratic.register_fake
def _(qb: torch.Tensor, kb: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(v)


def _save_bits(ctx: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _linear_backward(ctx: Any, gradient: torch.Tensor) -> tuple[None, None, torch.Tensor]:
    qb, kb = ctx.saved_tensors
    return None, None, binary_attention(kb, qb, gradient)


def _quadratic_backward(ctx: Any, gradient: torch.Tensor) -> tuple[None, None, torch.Tensor]:
    qb, kb = ctx.saved_tensors
    return None, None, binary_attention_quadratic(kb, qb, gradient)


# Bits have no gradient here: training goes through `straight_through` and the plain products.
binary_attention.register_autograd(_linear_backward, setup_context=_save_bits)
binary_attention_quadratic.register_autograd(_quadratic_backward, setup_context=_save_bits)
