"""Numbers to bits {0, 1}, with the straight-through gradient; and bits in machine words."""

from __future__ import annotations

from typing import Any

import torch

WORD = 32  # bits a word


class _StraightThrough(torch.autograd.Function):
    """Forward the bits, backward as if they had been clamp(value, 0, 1)."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(value)
        return bits.to(value.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (value,) = ctx.saved_tensors
        return gradients[0] * ((value > 0) & (value < 1)), None


def straight_through(value: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """`bits` (bool) as numbers of the dtype of `value`, with the gradient of clamp(value, 0, 1)."""
    return _StraightThrough.apply(value, bits)


def pack(bits: torch.Tensor) -> torch.Tensor:
    """[..., d] bool or {0, 1} -> [..., ceil(d / 32)] uint32: element 32 j + i is bit i of word j."""
    missing = -bits.shape[-1] % WORD
    padded = torch.nn.functional.pad(bits.to(torch.int64), (0, missing))
    places = torch.arange(WORD, device=bits.device)
    return (padded.unflatten(-1, (-1, WORD)) << places).sum(-1).to(torch.uint32)


def unpack(words: torch.Tensor, count: int) -> torch.Tensor:
    """[..., W] uint32 -> [..., count] bool, the inverse of `pack`."""
    places = torch.arange(WORD, device=words.device)
    bits = (words.to(torch.int64)[..., None] >> places) & 1
    return bits.flatten(-2)[..., :count].bool()


def popcount(words: torch.Tensor) -> torch.Tensor:
    """How many bits of each uint32 word are set, int64; by adding neighbouring fields of 1, 2, 4 ... bits."""
    x = words.to(torch.int64)
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    return ((x * 0x01010101) >> 24) & 0xFF


def scores(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """q k^T of packed bits: queries [..., N, W], keys [..., M, W] uint32 -> [..., N, M] int64."""
    both = queries.to(torch.int64)[..., :, None, :] & keys.to(torch.int64)[..., None, :, :]
    return popcount(both).sum(-1)


def hamming(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """In how many bits each query differs from each key, |q| + |k| - 2 q.k; shapes as in `scores`."""
    sizes = popcount(queries).sum(-1)[..., :, None] + popcount(keys).sum(-1)[..., None, :]
    return sizes - 2 * scores(queries, keys)
