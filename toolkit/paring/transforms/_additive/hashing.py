"""Kernel-supervised hashing. Liu et al. 2012; for attention EcoFormer, https://arxiv.org/abs/2209.09004

y = A (k(x) - mean),  k_m(x) = exp(-|x - anchor_m|^2 / (2 sigma)),  bit = 1[y > 0]

sigma is the mean squared distance of a sample's tokens to the anchors of the head. A is fitted so that the
codes' products follow a target S: +1 between a token and the 10 most similar ones of its sample, -1 for the
10 least similar ones, times the number of bits. Bits are found one after the other, each against the
residual S - sum of y y^T over the bits before, with sign relaxed to 2 / (1 + e^-y) - 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

NEIGHBOURS = 10
LEARNING_RATE, MOMENTUM, STEPS = 5e-4, 0.9, 100
SAMPLES = 8  # of the calibration samples that A is fitted on: the targets have N^2 entries each


class Hash(NamedTuple):
    """What is fitted: anchors [H, M, d], mean [H, 1, M] and projection A [H, bits, M]."""

    anchors: torch.Tensor
    mean: torch.Tensor
    projection: torch.Tensor


def kernel_values(x: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Tokens [B, H, N, d] against anchors [H, M, d] -> [B, H, N, M], in 0..1."""
    products = x @ anchors.transpose(-2, -1)
    squares = (x * x).sum(-1, keepdim=True) + (anchors * anchors).sum(-1)[:, None, :]
    distances = (squares - 2 * products).clamp_min(0)
    sigma = distances.mean((-2, -1), keepdim=True).clamp_min(1e-6)
    return (distances / (-2 * sigma)).exp()


def fit_hash(x: torch.Tensor, bits: int, anchors: int, seed: int) -> Hash:
    """Fit to tokens [B, H, N, d]; the same tokens and seed give the same hash."""
    tokens = x.transpose(1, 2).flatten(0, 1)  # [B N, H, d]
    generator = torch.Generator().manual_seed(seed)
    rounds = -(-anchors // len(tokens))  # with fewer tokens than anchors some are drawn twice
    order = torch.cat([torch.randperm(len(tokens), generator=generator) for _ in range(rounds)])
    chosen = tokens[order[:anchors].to(x.device)].transpose(0, 1)
    values = kernel_values(x, chosen)
    mean = values.mean((0, 2))[:, None]
    few = min(SAMPLES, len(x))
    projection = fit_projection(values[:few] - mean, target(x[:few]) * bits, bits)
    return Hash(chosen, mean, projection)


def target(x: torch.Tensor) -> torch.Tensor:
    """+1 and -1 for each token's most and least similar ones by product: [B, H, N, d] -> [B, H, N, N]."""
    similar = x @ x.transpose(-2, -1)
    count = min(NEIGHBOURS, x.shape[2] // 2)
    wanted = torch.zeros_like(similar)
    wanted.scatter_(-1, similar.topk(count).indices, 1.0)
    return wanted.scatter_(-1, similar.topk(count, largest=False).indices, -1.0)


def fit_projection(values: torch.Tensor, wanted: torch.Tensor, bits: int) -> torch.Tensor:
    """A [H, bits, M] from centred kernel values [B, H, N, M] and the target S [B, H, N, N], bit by bit."""
    residual = (wanted + wanted.transpose(-2, -1)) / 2
    rows = []
    for _ in range(bits):
        row = descend(values, residual, spectral_start(values, residual))
        rows.append(row)
        code = torch.where(project(values, row) > 0, 1.0, -1.0)
        residual = residual - code[..., :, None] * code[..., None, :]
    return torch.stack(rows, dim=1)


def project(values: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """[B, H, N, M] by one row a head [H, M] -> [B, H, N]."""
    return (values @ row[..., None])[..., 0]


def spectral_start(values: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    """[H, M]: the row that maximises y^T S y without the sign, scaled so that y has mean square 1."""
    quadratic = (values.transpose(-2, -1) @ residual @ values).sum(0)
    row = torch.linalg.eigh(quadratic).eigenvectors[..., -1]
    # An eigenvector has no sign of its own; this one makes the start the same everywhere.
    largest = row.gather(-1, row.abs().argmax(-1, keepdim=True))
    row = row * largest.sign()
    size = project(values, row).square().mean((0, 2)).sqrt()
    return row / size.clamp_min(1e-6)[:, None]


def descend(values: torch.Tensor, residual: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """Gradient descent with momentum on -y^T S y, y = 2 / (1 + e^-z) - 1, mean over the samples.

    What is better of the start and the end is kept, as the codes' signs judge it.
    """
    start, velocity = row, torch.zeros_like(row)
    for _ in range(STEPS):
        y = 2 * project(values, row).sigmoid() - 1
        slope = -2 * (residual @ y[..., None])[..., 0] * (1 - y * y) / 2  # by z
        velocity = MOMENTUM * velocity + (values * slope[..., None]).sum(2).mean(0)
        row = row - LEARNING_RATE * velocity
    better = agreement(values, residual, row) > agreement(values, residual, start)
    return torch.where(better[:, None], row, start)


def agreement(values: torch.Tensor, residual: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """y^T S y of the signs, a head: [H]."""
    code = torch.where(project(values, row) > 0, 1.0, -1.0)
    return (code * (residual @ code[..., None])[..., 0]).sum((0, 2))
