"""Merging of neighbours along an axis against a loop."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_run import run

from paring.transforms._neighbours import merge_neighbours, pairs_in, pairs_of

GRIDS = [((4, 2, 3), 0), ((5, 2, 2), 0), ((11,), 0), ((3, 7), -1), ((3, 6), 1), ((2, 4, 3), 1)]


def pairs_by_loop(grid: tuple[int, ...], axis: int) -> list[tuple[int, int]]:
    places = {spot: i for i, spot in enumerate(itertools.product(*map(range, grid)))}
    pairs = []
    for spot, place in places.items():
        after = list(spot)
        after[axis] += 1
        if spot[axis] % 2 == 0 and tuple(after) in places:
            pairs.append((place, places[tuple(after)]))
    return pairs


def merge_by_loop(
    x: torch.Tensor, size: torch.Tensor, grid: tuple[int, ...], axis: int, r: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """x [P, C], size [P]"""
    pairs = pairs_by_loop(grid, axis)
    cosines = [torch.cosine_similarity(x[a], x[b], dim=0).item() for a, b in pairs]
    tokens = {i: (x[i], size[i].item()) for i in range(len(x))}
    for pair in sorted(range(len(pairs)), key=lambda p: -cosines[p])[:r]:
        a, b = pairs[pair]
        (left, n), (right, m) = tokens[a], tokens.pop(b)
        tokens[a] = ((left * n + right * m) / (n + m), n + m)
    rest = [tokens[i] for i in sorted(tokens)]
    return torch.stack([token for token, _ in rest]), torch.tensor([n for _, n in rest])


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(GRIDS), st.integers(0, 10_000), st.floats(0, 1))
def test_merging_equals_the_loop(shape: tuple[tuple[int, ...], int], seed: int, share: float) -> None:
    grid, axis = shape
    count, r = math.prod(grid), round(share * pairs_in(grid, axis))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, count, 5, generator=generator)
    size = torch.randint(1, 4, (2, count), generator=generator).float()
    found = merge_neighbours(x, grid, axis, r, size, with_target=True)
    for row in range(2):
        tokens, sizes = merge_by_loop(x[row], size[row], grid, axis, r)
        torch.testing.assert_close(found.x[row], tokens, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(found.size[row], sizes)
        for token in range(count - r):
            held = found.target[row] == token
            weighted = (x[row][held] * size[row][held, None]).sum(0) / size[row][held].sum()
            torch.testing.assert_close(found.x[row, token], weighted)


@pytest.mark.parametrize(("grid", "axis"), GRIDS)
def test_pairs_are_neighbours_along_the_axis(grid: tuple[int, ...], axis: int) -> None:
    assert list(pairs_of(grid, axis)) == pairs_by_loop(grid, axis)
    assert pairs_in(grid, axis) == len(pairs_by_loop(grid, axis))


def test_size_and_mass_are_conserved() -> None:
    x, size = torch.randn(2, 24, 4), torch.randint(1, 5, (2, 24)).float()
    found = merge_neighbours(x, (4, 2, 3), 0, 7, size)
    torch.testing.assert_close(found.size.sum(1), size.sum(1))
    torch.testing.assert_close((found.x * found.size[..., None]).sum(1), (x * size[..., None]).sum(1))


def test_merging_nothing_is_identity() -> None:
    x = torch.randn(2, 24, 4)
    assert torch.equal(merge_neighbours(x, (4, 2, 3), 0, 0).x, x)


def test_one_frame_has_no_pairs() -> None:
    x = torch.randn(2, 6, 4)
    assert pairs_in((1, 2, 3), 0) == 0
    found = merge_neighbours(x, (1, 2, 3), 0, 0, with_target=True)
    assert torch.equal(found.x, x)
    assert found.target.tolist() == [list(range(6))] * 2


def test_a_still_video_halves_without_loss() -> None:
    frame = torch.randn(1, 1, 6, 4)
    x = frame.expand(2, 4, 6, 4).reshape(2, 24, 4)
    found = merge_neighbours(x, (4, 2, 3), 0, 12)
    torch.testing.assert_close(found.x, x[:, :12])
    assert (found.size == 2).all()


def test_equal_pairs_go_by_place() -> None:
    found = merge_neighbours(torch.ones(1, 8, 2), (8,), 0, 2, with_target=True)
    assert found.target.tolist() == [[0, 0, 1, 1, 2, 3, 4, 5]]


def test_a_sample_does_not_depend_on_its_batch_mates() -> None:
    x = torch.randn(3, 24, 4)
    together = merge_neighbours(x, (4, 2, 3), 0, 5).x
    for row in range(3):
        torch.testing.assert_close(merge_neighbours(x[row : row + 1], (4, 2, 3), 0, 5).x[0], together[row])


def test_more_than_the_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="12 pairs along axis 0"):
        merge_neighbours(torch.randn(1, 24, 4), (4, 2, 3), 0, 13)


@pytest.mark.parametrize(("grid", "axis"), GRIDS)
def test_merging_exports(grid: tuple[int, ...], axis: int, tmp_path: Path) -> None:
    r = pairs_in(grid, axis) // 2

    def merged(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = merge_neighbours(x, grid, axis, r)
        return found.x, found.size

    example, x = torch.randn(2, math.prod(grid), 4), torch.randn(3, math.prod(grid), 4)
    for theirs, ours in zip(run(merged, [example], [x], tmp_path), merged(x), strict=True):
        torch.testing.assert_close(torch.from_numpy(theirs), ours, atol=1e-5, rtol=1e-4)
