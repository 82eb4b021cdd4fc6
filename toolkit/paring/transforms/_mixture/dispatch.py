"""Which tokens go to which expert: an exact split into fixed numbers, sample by sample.

No token is dropped and none waits for another sample, so that shapes are static and a sample's answer does
not depend on its batch. Experts choose in turn: expert i takes the tokens whose score for i is farthest above
the best score among the experts after it, and the last takes the rest. For two experts that is a ranking of
the tokens by s_0 - s_1, which orders them as p_0 - p_1 does but never saturates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from .._encoder import take


class Split(NamedTuple):
    """Where tokens go.

    Attributes:
        order: [B, N] the tokens by expert: those of the first, then those of the second, ...
        place: [B, N] where in `order` each token is.
        gap: [B] by how little the closest choice was made, relative to the largest |s_i - s_j|.
    """

    order: torch.Tensor
    place: torch.Tensor
    gap: torch.Tensor


def counts(shares: Sequence[float], tokens: int) -> tuple[int, ...]:
    """How many of `tokens` each expert takes; they add up. `shares` add up to 1."""
    ends = [math.floor(tokens * sum(shares[: index + 1]) + 0.5) for index in range(len(shares) - 1)]
    starts, ends = [0, *ends], [*ends, tokens]
    return tuple(end - start for start, end in zip(starts, ends, strict=True))


def split(scores: torch.Tensor, numbers: Sequence[int]) -> Split:
    """Split tokens by scores [B, N, E], `numbers` of them to each of E >= 2 experts.

    Equal leads go in order of index, as in every selection here.
    """
    scores = scores.float()
    parts: list[torch.Tensor] = []
    gaps: list[torch.Tensor] = []
    left: torch.Tensor | None = None
    for expert, number in enumerate(numbers[:-1]):
        lead = scores[..., expert] - scores[..., expert + 1 :].amax(-1)
        # The whole row is sorted: ONNX TopK is then defined for ties too (lower index first).
        ranked = lead.sort(dim=1, descending=True, stable=True)
        here = ranked.indices if left is None else left.gather(1, ranked.indices)
        gaps.append(_gap(ranked.values, number))
        if expert + 2 < len(numbers):
            parts.append(here[:, :number])
            left, scores = here[:, number:], take(scores, ranked.indices[:, number:])
        else:
            parts.append(here)
    order = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    place = order.sort(dim=1, stable=True).indices
    return Split(order, place, torch.stack(gaps).amin(0))


def _gap(ranked: torch.Tensor, number: int) -> torch.Tensor:
    """[B] between the last lead that was taken and the first that was not; infinite without one of them."""
    if not 0 < number < ranked.shape[1]:
        return torch.full_like(ranked[:, 0], torch.inf)
    largest = ranked.abs().amax(1).clamp(min=torch.finfo(ranked.dtype).tiny)
    return (ranked[:, number - 1] - ranked[:, number]) / largest
