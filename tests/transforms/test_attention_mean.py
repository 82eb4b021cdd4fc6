"""The attention-weighted mean of regions, against a loop; edges that are no whole regions."""

from __future__ import annotations

import pytest
import torch
from models import build

from paring.transforms import attention_mean, k_medoids
from paring.transforms._encoder import Attended, Tokens
from paring.transforms.attention_mean import LEAST, AttentionMean


def attended(scores: torch.Tensor) -> Attended:
    return Attended(torch.empty(0), scores)


@pytest.mark.parametrize(("grid", "stride", "count"), [((6, 6), 3, 4), ((16, 16), 3, 36), ((4, 5), 5, 1)])
def test_each_region_is_its_mean_by_attention(grid: tuple[int, int], stride: int, count: int) -> None:
    torch.manual_seed(0)
    patches = grid[0] * grid[1]
    x, scores = torch.randn(2, 1 + patches, 8), torch.rand(2, 1 + patches).softmax(1)
    step = AttentionMean(stride, 1, grid)
    owner = torch.arange(1 + patches).expand(2, -1)
    found = step(Tokens(x, None, owner, torch.ones(2)), attended(scores))
    assert found.x.shape[1] == step.count(1 + patches) == 1 + count
    assert torch.equal(found.x[:, 0], x[:, 0])
    regions: dict[tuple[int, int], list[int]] = {}
    for place in range(patches):
        row, column = divmod(place, grid[1])
        regions.setdefault((row // stride, column // stride), []).append(1 + place)
    assert found.size is not None
    assert found.owner is not None
    for number, places in enumerate(regions.values(), start=1):
        weight = scores[:, places, None] + LEAST
        wanted = (x[:, places] * weight).sum(1) / weight.sum(1)
        torch.testing.assert_close(found.x[:, number], wanted, atol=1e-5, rtol=1e-5)
        assert found.size[:, number].tolist() == [len(places)] * 2
        assert (found.owner[:, places] == number).all()


def test_no_attention_at_all_is_the_plain_mean() -> None:
    x = torch.randn(1, 16, 4)
    found = AttentionMean(4, 0, (4, 4))(Tokens(x), attended(torch.zeros(1, 16)))
    torch.testing.assert_close(found.x[:, 0], x.mean(1), atol=1e-5, rtol=1e-5)


def test_no_step_before_it_may_take_patches_out_of_their_grid() -> None:
    model = attention_mean.apply(build("timm ViT"), attention_mean.Config(stride=4, block=3))
    told = k_medoids.check(model, k_medoids.Config(tokens=5, block=1))
    assert told == ["a step after block 3 counts on the patches' grid: drop tokens behind it only"]
    assert k_medoids.check(model, k_medoids.Config(tokens=2, block=4)) == []


def test_other_patches_than_its_grid_s_are_refused() -> None:
    with pytest.raises(ValueError, match="AttentionMean got 15 patches, which are no grid of 4 x 4"):
        AttentionMean(2, 1, (4, 4)).count(16)
