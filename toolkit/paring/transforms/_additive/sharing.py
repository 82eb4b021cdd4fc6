"""One projection in the place of a pretrained query's and key's, which hashing makes of both."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def shared_projection(query: nn.Linear, key: nn.Linear, heads: int) -> nn.Linear:
    """The projection P [d, C] a head for which P^T P is nearest to W_q^T W_k, both ways round.

    Products of shared tokens are symmetric and no token's with itself is negative: what is nearest, by the
    sum of squares, keeps the positive eigenvalues of (W_q^T W_k + W_k^T W_q) / 2, the d largest. Biases are
    left out.
    """
    width = query.out_features // heads
    shared = nn.Linear(key.in_features, key.out_features, bias=False, device="meta")
    rows = [
        nearest_square(*(layer.weight[head * width : (head + 1) * width] for layer in (query, key)))
        for head in range(heads)
    ]
    shared.weight = nn.Parameter(torch.cat(rows))
    return shared


def nearest_square(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Two matrices [d, C] -> P [d, C]. Computed in the span of their rows, which is 2 d wide."""
    count = len(first)
    basis, both = torch.linalg.qr(torch.cat([first, second]).double().T)  # [C, 2d], [2d, 2d]
    product = both[:, :count] @ both[:, count:].T
    found = torch.linalg.eigh((product + product.T) / 2)
    values, vectors = found.eigenvalues[-count:], found.eigenvectors[:, -count:]
    root = values.clamp_min(0).sqrt()[:, None] * (basis @ vectors).T
    return root.to(first.dtype)
