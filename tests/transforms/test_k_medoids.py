"""k-medoids against a plain implementation, and what it does with clusters that are plain to see."""

from __future__ import annotations

import pytest
import torch

from paring.transforms._encoder import Tokens
from paring.transforms.k_medoids import GAIN, Medoids, cluster


def by_loops(x: torch.Tensor, k: int, iterations: int) -> list[int]:
    """Of x [P, C]."""
    count = len(x)
    unit = x / x.norm(dim=1, keepdim=True)
    away = [[1 - float(unit[i] @ unit[j]) for j in range(count)] for i in range(count)]
    medoids = [int((number + 0.5) * count / k) for number in range(k)]
    for _ in range(iterations):
        members: list[list[int]] = [[] for _ in range(k)]
        for patch in range(count):
            own = medoids.index(patch) if patch in medoids else None
            nearest = min(range(k), key=lambda m: away[medoids[m]][patch])
            members[nearest if own is None else own].append(patch)
        for number, inside in enumerate(members):
            cost = {i: sum(away[i][j] for j in inside) + GAIN * (i != medoids[number]) for i in inside}
            medoids[number] = min(cost, key=lambda i: cost[i])
    return sorted(medoids)


@pytest.mark.parametrize(("count", "k"), [(36, 4), (25, 7), (9, 1), (6, 6)])
def test_it_finds_what_loops_find(count: int, k: int) -> None:
    x = torch.randn(3, count, 8, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    found = cluster(x, k, 4)
    assert found.medoids.tolist() == [by_loops(row, k, 4) for row in x.float()]
    assert (found.gap > 0).all()
    assert found.owner.gather(1, found.medoids).tolist() == [list(range(k))] * 3


def test_plain_clusters_are_found_wherever_they_lie() -> None:
    kinds = torch.arange(24) % 3  # the three that it begins with, 4, 12 and 20, are of different kinds
    x = torch.eye(3)[kinds] + 0.05 * torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
    found = cluster(x[None], 3, 5)
    assert sorted(kinds[found.medoids[0]].tolist()) == [0, 1, 2]
    assert torch.equal(kinds[found.medoids[0][found.owner[0]]], kinds)


def test_patches_that_are_all_alike_stay_where_they_began() -> None:
    found = cluster(torch.ones(2, 12, 4), 3, 5)
    assert found.medoids.tolist() == [[2, 6, 10]] * 2
    assert found.owner.unique().tolist() == [0, 1, 2]


def test_sizes_and_owners_follow() -> None:
    x = torch.randn(2, 17, 8, generator=torch.Generator().manual_seed(1))
    step = Medoids(4, 3, 1)
    found = step(Tokens(x, None, torch.arange(17).expand(2, -1), torch.ones(2)))
    assert found.x.shape == (2, step.count(17), 8)
    assert found.size is not None
    assert found.owner is not None
    assert found.size.sum(1).tolist() == [17, 17]
    for row in range(2):
        assert torch.equal(found.x[row, 0], x[row, 0])
        assert found.owner[row].bincount(minlength=5).tolist() == found.size[row].int().tolist()
    with pytest.raises(ValueError, match="keeps 4 patches, and 3 come"):
        step.count(4)
