"""MustDrop's window merging against a loop written from the paper, and its checks."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_run import run

from paring.transforms._grid import pool
from paring.transforms._must_drop import calibration
from paring.transforms._must_drop.spatial import (
    batch_budget,
    length_after,
    merge_windows,
    similar,
    window_scores,
)


def scores_by_loop(x: torch.Tensor, grid: tuple[int, int], window: tuple[int, int]) -> list[float]:
    """Mean over the off-diagonal cosines of every window of x [P, C]."""
    scores = []
    for places in places_by_loop(grid, window):
        cosines = [
            torch.cosine_similarity(x[i], x[j], dim=0).item() for i in places for j in places if i != j
        ]
        n = math.prod(window)
        assert len(cosines) == n * (n - 1)
        scores.append(sum(cosines) / len(cosines))
    return scores


def places_by_loop(grid: tuple[int, int], window: tuple[int, int]) -> list[list[int]]:
    return [
        [(row + i) * grid[1] + column + j for i in range(window[0]) for j in range(window[1])]
        for row in range(0, grid[0] - window[0] + 1, window[0])
        for column in range(0, grid[1] - window[1] + 1, window[1])
    ]


def merge_by_loop(
    x: torch.Tensor, grid: tuple[int, int], r: int, window: tuple[int, int], raster: bool
) -> torch.Tensor:
    places, scores = places_by_loop(grid, window), scores_by_loop(x, grid, window)
    chosen = sorted(range(len(scores)), key=lambda w: -scores[w])[:r]
    merged = [(places[w][math.prod(window) // 2], x[places[w]].mean(0)) for w in chosen]
    gone = {place for w in chosen for place in places[w]}
    tokens = merged + [(i, x[i]) for i in range(len(x)) if i not in gone]
    return torch.stack([token for _, token in (sorted(tokens, key=lambda t: t[0]) if raster else tokens)])


GRIDS = [((6, 6), (3, 3)), ((7, 8), (3, 3)), ((9, 6), (3, 3)), ((5, 4), (2, 2))]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(GRIDS), st.integers(0, 10_000), st.booleans(), st.floats(0, 1))
def test_merging_equals_the_loop(
    shape: tuple[tuple[int, int], tuple[int, int]], seed: int, raster: bool, share: float
) -> None:
    grid, window = shape
    x = torch.randn(2, math.prod(grid), 5, generator=torch.Generator().manual_seed(seed))
    r = round(share * len(places_by_loop(grid, window)))
    found = merge_windows(x, grid, r, window, raster=raster, with_target=True)
    assert found.x.shape[1] == length_after(grid, r, window)
    for row in range(2):
        torch.testing.assert_close(found.x[row], merge_by_loop(x[row], grid, r, window, raster))
        expected = torch.tensor(scores_by_loop(x[row], grid, window))
        torch.testing.assert_close(window_scores(x, grid, window)[row], expected, atol=1e-5, rtol=1e-4)
        for token in range(found.x.shape[1]):  # the target says which patches each token is the mean of
            torch.testing.assert_close(found.x[row, token], x[row][found.target[row] == token].mean(0))
            assert found.size[row, token] == (found.target[row] == token).sum()


def test_a_constant_image_merges_every_window_into_equal_tokens() -> None:
    x = torch.randn(1, 1, 16).expand(2, 576, 16)
    scores = window_scores(x, (24, 24))
    assert scores.shape == (2, 64)
    assert batch_budget(scores) == 64
    found = merge_windows(x, (24, 24), 64)
    assert found.x.shape == (2, 64, 16)
    torch.testing.assert_close(found.x, x[:, :64])


def test_merging_all_windows_is_average_pooling_in_another_order() -> None:
    x = torch.randn(1, 576, 8)
    found = merge_windows(x, (24, 24), 64)
    pooled = pool(x, None, (24, 24), (3, 3))[0]
    torch.testing.assert_close(found.x[0], pooled[0, found.chosen[0]])
    assert sorted(found.chosen[0].tolist()) == list(range(64))


def test_no_similar_window_is_identity() -> None:
    x = torch.randn(1, 576, 64)
    r = batch_budget(window_scores(x, (24, 24)))
    assert r == 0
    assert torch.equal(merge_windows(x, (24, 24), r).x, x)
    assert torch.equal(merge_windows(x, (24, 24), r, raster=True).x, x)


@pytest.mark.parametrize("r", [0, 1, 17, 64])
def test_length_size_and_mass(r: int) -> None:
    """1 + 576 - 8r with the class token, never below 65; sum(size) = 577 with the class token."""
    x = torch.randn(2, 576, 6)
    found = merge_windows(x, (24, 24), r)
    assert 1 + found.x.shape[1] == 577 - 8 * r >= 65
    assert (1 + found.size.sum(1) == 577).all()
    mass = (found.x * found.size[..., None]).sum(1)
    torch.testing.assert_close(mass, x.sum(1), atol=1e-4, rtol=1e-4)


def test_sizes_weigh_the_mean() -> None:
    x, size = torch.randn(1, 36, 4), torch.randint(1, 6, (1, 36)).float()
    found = merge_windows(x, (6, 6), 3, size=size)
    assert found.size.sum() == size.sum()
    torch.testing.assert_close((found.x * found.size[..., None]).sum(1), (x * size[..., None]).sum(1))


def test_equal_windows_go_by_raster_order() -> None:
    x = torch.ones(1, 36, 4)
    assert merge_windows(x, (6, 6), 2).chosen.tolist() == [[0, 1]]


def test_raster_order_puts_a_window_in_its_central_place() -> None:
    x = torch.arange(1.0, 37.0).reshape(1, 36, 1)  # every cosine is 1, so windows 0 and 1 merge
    found = merge_windows(x, (6, 6), 2, raster=True)
    assert found.x.flatten().tolist() == [8.0, 11.0, *range(19, 37)]  # a mean is its centre


def test_the_budget_leaves_batch_mates_alone_where_the_paper_does_not() -> None:
    alike = torch.ones(1, 36, 4) + 0.1 * torch.randn(1, 36, 4)
    mixed = torch.cat([alike, torch.randn(1, 36, 4)])
    scores = window_scores(mixed, (6, 6))
    assert similar(scores).tolist()[0] == 4
    assert batch_budget(scores) < batch_budget(scores[:1])
    together = merge_windows(mixed, (6, 6), 2).x[:1]
    torch.testing.assert_close(together, merge_windows(alike, (6, 6), 2).x)


def test_the_budget_of_the_threshold_run_merges_the_same_windows() -> None:
    x = torch.ones(1, 81, 8) + 0.6 * torch.randn(1, 81, 8, generator=torch.Generator().manual_seed(3))
    scores = window_scores(x, (9, 9))
    r = batch_budget(scores)
    assert 0 < r < 9
    assert (
        sorted(merge_windows(x, (9, 9), r).chosen[0].tolist()) == (scores[0] >= 0.8).nonzero()[:, 0].tolist()
    )


def test_a_budget_from_samples() -> None:
    scores = torch.tensor([[0.9, 0.85, 0.1], [0.9, 0.2, 0.1], [0.9, 0.9, 0.9], [0.95, 0.9, 0.1]])
    assert calibration.window_budget(scores) == 1  # the least count, as the paper takes over a batch
    assert calibration.window_budget(scores, quantile=0.5) == 2


def test_too_many_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="4 windows of"):
        merge_windows(torch.randn(1, 49, 3), (7, 7), 5)


@pytest.mark.parametrize("raster", [False, True])
@pytest.mark.parametrize(("grid", "r"), [((6, 6), 2), ((6, 6), 4), ((7, 8), 3)])
def test_merging_exports(grid: tuple[int, int], r: int, raster: bool, tmp_path: Path) -> None:
    def merge(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = merge_windows(x, grid, r, raster=raster)
        return found.x, found.size

    example, x = torch.randn(2, math.prod(grid), 4), torch.randn(3, math.prod(grid), 4)
    found = run(merge, [example], [x], tmp_path)
    for theirs, ours in zip(found, merge(x), strict=True):
        torch.testing.assert_close(torch.from_numpy(theirs), ours, atol=1e-5, rtol=1e-4)
