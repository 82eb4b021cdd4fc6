"""The latency-aware loss: experts get tokens in inverse proportion to what a token costs there.

ShiftAddViT, https://arxiv.org/abs/2306.06446: with gates p(x), alpha_i = Lat_i / sum Lat, SCV = var / mean^2,

    L_imp = SCV({alpha_i sum_x p_i(x)}),   L_load = SCV({alpha_i sum_x q_i(x)}),

q_i(x) the probability that p_i(x) with new noise reaches the largest noisy gate of x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

EPSILON = 1e-10


def squared_variation(values: torch.Tensor) -> torch.Tensor:
    """var / mean^2 of [E], with the unbiased variance."""
    return values.var(unbiased=True) / (values.mean().square() + EPSILON)


def importance_loss(gates: torch.Tensor, alpha: Sequence[float]) -> torch.Tensor:
    """SCV of the gates' sums, gates [..., E], weighted by alpha [E]."""
    return squared_variation(gates.flatten(0, -2).sum(0) * _constants(gates, alpha))


def load_loss(gates: torch.Tensor, alpha: Sequence[float], noise: torch.Tensor) -> torch.Tensor:
    """SCV of the expected loads, by gates [..., E] and noise [..., E] of standard deviation 1 / E."""
    reached = (gates + noise).amax(-1, keepdim=True)
    deviation = 1 / gates.shape[-1]
    load = 0.5 * torch.erfc((reached - gates) / (deviation * math.sqrt(2)))  # 1 - normal CDF
    return squared_variation(load.flatten(0, -2).sum(0) * _constants(gates, alpha))


def latency_aware_loss(gates: torch.Tensor, alpha: Sequence[float]) -> torch.Tensor:
    """L_imp + L_load of gates [..., E]. The noise comes from PyTorch's own generator."""
    noise = torch.randn_like(gates) / gates.shape[-1]
    return importance_loss(gates, alpha) + load_loss(gates, alpha, noise)


def _constants(like: torch.Tensor, values: Sequence[float]) -> torch.Tensor:
    """[E] in the dtype and on the device of `like`; filled in there, as a copy makes a GPU wait."""
    return torch.stack([like.new_full((), value) for value in values])
