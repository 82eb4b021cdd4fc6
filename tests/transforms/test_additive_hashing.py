"""Kernel-supervised hashing: the kernel and the target from loops, the fit by what it is for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from paring.transforms._additive import KernelHash
from paring.transforms._additive.hashing import fit_hash, fit_projection, kernel_values, project, target
from paring.transforms._additive.sharing import nearest_square, shared_projection

SHAPE = (4, 2, 30, 8)  # samples, heads, tokens, width


def tokens(seed: int = 0) -> torch.Tensor:
    """Four clusters a head, so that there is something to hash."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(2, 4, 8, generator=generator) * 2
    member = torch.randint(0, 4, SHAPE[:3], generator=generator)
    heads = torch.arange(2)[None, :, None]
    return centres[heads, member] + 0.3 * torch.randn(*SHAPE, generator=generator)


def test_the_kernel_is_gaussian_by_the_samples_own_distance() -> None:
    x, anchors = tokens(), torch.randn(2, 5, 8)
    found = kernel_values(x, anchors)
    for sample, head in ((0, 0), (3, 1)):
        pairs = [[float((t - a).square().sum()) for a in anchors[head]] for t in x[sample, head]]
        sigma = sum(map(sum, pairs)) / (30 * 5)
        expected = [[math.exp(-square / (2 * sigma)) for square in row] for row in pairs]
        torch.testing.assert_close(found[sample, head], torch.tensor(expected), atol=1e-5, rtol=1e-4)


def test_the_target_has_ten_of_each_kind_a_token() -> None:
    x = tokens()
    wanted = target(x)
    assert ((wanted == 1).sum(-1) == 10).all()
    assert ((wanted == -1).sum(-1) == 10).all()
    products = x[1, 0] @ x[1, 0, 7]
    assert products[wanted[1, 0, 7] == 1].min() >= products[wanted[1, 0, 7] == 0].max()
    assert products[wanted[1, 0, 7] == -1].max() <= products[wanted[1, 0, 7] == 0].min()


def loss(values: torch.Tensor, wanted: torch.Tensor, projection: torch.Tensor) -> float:
    codes = [torch.where(project(values, row) > 0, 1.0, -1.0) for row in projection.unbind(1)]
    products = sum(code[..., :, None] * code[..., None, :] for code in codes)
    return float((products - wanted).square().mean())


def test_the_fit_comes_nearer_to_the_target_bit_by_bit_than_random_projections() -> None:
    x = tokens()
    values = kernel_values(x, x[0, :, :12])
    values = values - values.mean((0, 2))[:, None]
    wanted = target(x) * 16
    fitted = fit_projection(values, wanted, 16)
    assert fitted.shape == (2, 16, 12)
    losses = [loss(values, wanted, fitted[:, :bits]) for bits in (1, 4, 16)]
    assert losses == sorted(losses, reverse=True)
    generator = torch.Generator().manual_seed(0)
    by_chance = [loss(values, wanted, torch.randn(2, 16, 12, generator=generator)) for _ in range(5)]
    assert losses[-1] < 0.8 * min(by_chance)


def test_similar_tokens_share_more_bits_than_dissimilar_ones() -> None:
    code, x = KernelHash(2, 8, 16, 12, seed=0), tokens()
    code.fit(x)
    same = (code(x)[..., :, None, :] == code(x)[..., None, :, :]).float().mean(-1)
    wanted = target(x)
    assert same[wanted == 1].mean() > same[wanted == -1].mean() + 0.3


def test_one_seed_gives_one_hash_and_another_another() -> None:
    x = tokens()
    first, again, other = (fit_hash(x, 16, 12, seed) for seed in (0, 0, 1))
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first.anchors, other.anchors)


def test_fewer_tokens_than_anchors_do() -> None:
    code = KernelHash(2, 8, 4, 50, seed=0)
    code.fit(tokens()[:1, :, :6])
    assert code(tokens()).shape == (4, 2, 30, 4)
    assert code.projection.isfinite().all()


def test_a_fitted_hash_travels_in_the_state_dict() -> None:
    first, second = KernelHash(2, 8, 16, 12, 0), KernelHash(2, 8, 16, 12, 1)
    first.fit(tokens())
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(tokens(1)), second(tokens(1)))
    assert first(tokens(1)).float().mean() == pytest.approx(0.5, abs=0.3)


def test_equal_projections_are_shared_as_they_are() -> None:
    weight = torch.randn(4, 12)
    found = nearest_square(weight, weight)
    torch.testing.assert_close(found.T @ found, weight.T @ weight, atol=1e-4, rtol=1e-4)


def test_the_shared_projection_is_the_nearest_of_its_rank() -> None:
    torch.manual_seed(0)
    query, key = nn.Linear(12, 8), nn.Linear(12, 8)
    shared = shared_projection(query, key, heads=2)
    for head in range(2):
        rows = slice(head * 4, head * 4 + 4)
        product = query.weight[rows].T @ key.weight[rows]
        symmetric = (product + product.T).detach() / 2
        values, vectors = torch.linalg.eigh(symmetric.double())
        best = vectors[:, -4:] @ (values[-4:].clamp_min(0)[:, None] * vectors[:, -4:].T)
        found = shared.weight[rows].T @ shared.weight[rows]
        torch.testing.assert_close(found.detach(), best.float(), atol=1e-5, rtol=1e-4)
