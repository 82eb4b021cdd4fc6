"""How the scale of power-of-two codes is chosen: by the largest weight, or by the mean squared error."""

from __future__ import annotations

from typing import NamedTuple

import torch

from .codes import decode, encode

GRANULARITIES = ("tensor", "channel", "group")
# The codes repeat every octave, so a search over one octave below the largest weight meets every phase;
# above it, up to half an octave, the largest weights round down.
STEPS = 16
PHASES = tuple(step / STEPS for step in range(-STEPS, STEPS // 2 + 1))


class Term(NamedTuple):
    """Codes of a matrix: integer values [N, K] int16 and their scale."""

    values: torch.Tensor
    scale: torch.Tensor


def largest(weight: torch.Tensor, granularity: str, group: int = 0) -> torch.Tensor:
    """The scale at which the largest weight is exactly 2^0: [1], [N] or [N, K / group]; 1 where all are zero.

    Raises:
        ValueError: `granularity` is not known, or `group` does not divide the row.
    """
    size = weight.detach().abs().float()
    if granularity == "tensor":
        found = size.max().reshape(1)
    elif granularity == "channel":
        found = size.amax(1)
    elif granularity == "group":
        found = size.reshape(len(size), groups(size.shape[1], group), group).amax(2)
    else:
        raise ValueError(f"scale: {' or '.join(GRANULARITIES)}, not {granularity}")
    return torch.where(found > 0, found, torch.ones_like(found))


def groups(columns: int, group: int) -> int:
    """How many groups a row has.

    Raises:
        ValueError: `group` does not divide `columns`.
    """
    if group < 1 or columns % group:
        raise ValueError(f"group_size {group} does not divide {columns} input features")
    return columns // group


def fitted(weight: torch.Tensor, bits: int, granularity: str, group: int = 0) -> torch.Tensor:
    """The scale of least squared error among 25 within an octave and a half around `largest`."""
    top = largest(weight, granularity, group)
    best, least = top, _error(weight, top, bits)
    for phase in PHASES:
        scale = top * 2.0**phase
        error = _error(weight, scale, bits)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best


def _error(weight: torch.Tensor, scale: torch.Tensor, bits: int) -> torch.Tensor:
    """Squared error of each scale, in the shape of `scale`."""
    square = (decode(encode(weight, scale, bits, flush=True), scale, bits) - weight.detach().float()).square()
    if scale.ndim == 2:
        return square.reshape(*scale.shape, -1).sum(2)
    return square.sum(1) if len(scale) == len(square) and len(scale) > 1 else square.sum().reshape(1)


def terms_of(
    weight: torch.Tensor, bits: int, granularity: str, group: int = 0, count: int = 1, fit: str = "error"
) -> tuple[Term, ...]:
    """Codes whose sum is near weight [N, K]: each term encodes what the ones before it left.

    `fit` is how the scales are chosen: "error", the least squared one, or "largest".
    """
    found: list[Term] = []
    left = weight.detach().float()
    for _ in range(count):
        searched = fit == "error"
        scale = fitted(left, bits, granularity, group) if searched else largest(left, granularity, group)
        values = encode(left, scale, bits, flush=True)
        found.append(Term(values, scale))
        left = left - decode(values, scale, bits)
    return tuple(found)
