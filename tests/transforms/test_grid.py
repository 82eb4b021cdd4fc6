"""Windows, pooling, unshuffling and stacking against plain loops."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from onnx_run import run

from paring.transforms._grid import (
    pool,
    pooled_grid,
    stack,
    unshuffle,
    window_owner,
    window_places,
    windowed,
)

CASES = [((6, 6), (3, 3)), ((7, 5), (3, 2)), ((4, 3, 5), (2, 2, 2)), ((11,), (4,)), ((2, 3), (3, 3))]


def pool_by_loop(
    x: torch.Tensor, size: torch.Tensor, grid: tuple[int, ...], window: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """x [P, C], size [P]"""
    cells: dict[tuple[int, ...], list[int]] = {}
    for place, spot in enumerate(itertools.product(*map(range, grid))):
        cells.setdefault(tuple(s // w for s, w in zip(spot, window, strict=True)), []).append(place)
    sums = [sum(x[i] * size[i] for i in cells[cell]) for cell in sorted(cells)]
    sizes = [sum(size[i].item() for i in cells[cell]) for cell in sorted(cells)]
    return torch.stack([s / n for s, n in zip(sums, sizes, strict=True)]), torch.tensor(sizes)


@pytest.mark.parametrize(("grid", "window"), CASES)
@pytest.mark.parametrize("sized", [False, True])
def test_pooling_equals_the_loop(grid: tuple[int, ...], window: tuple[int, ...], sized: bool) -> None:
    count = math.prod(grid)
    x, size = torch.randn(2, count, 4), torch.randint(1, 5, (2, count)).float()
    size = size if sized else torch.ones_like(size)
    found, sizes = pool(x, size if sized else None, grid, window)
    assert found.shape[1] == math.prod(pooled_grid(grid, window))
    for row in range(2):
        expected = pool_by_loop(x[row], size[row], grid, window)
        torch.testing.assert_close(found[row], expected[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(sizes[row], expected[1])
    torch.testing.assert_close(sizes.sum(1), size.sum(1))
    torch.testing.assert_close((found * sizes[..., None]).sum(1), (x * size[..., None]).sum(1))


def test_windows_of_one_change_nothing() -> None:
    x = torch.randn(2, 12, 3)
    assert torch.equal(pool(x, None, (3, 4), (1, 1))[0], x)


def test_window_places_are_in_raster_order() -> None:
    assert window_places((3, 5), (2, 2)).tolist() == [[0, 1, 5, 6], [2, 3, 7, 8]]
    assert window_owner((3, 5), (2, 2)).tolist() == [0, 0, 1, 1, 2, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2]


def test_windowed_gathers_the_window_places() -> None:
    x = torch.randn(2, 60, 3)
    grid, window = (3, 4, 5), (1, 3, 2)
    assert torch.equal(windowed(x, grid, window), x[:, window_places(grid, window)])


def test_unshuffle_puts_the_patches_of_a_window_side_by_side() -> None:
    x = torch.randn(2, 24, 3)
    found = unshuffle(x, (4, 6), (2, 2))
    assert found.shape == (2, 6, 12)
    for row, column in itertools.product(range(2), range(3)):
        corner = 2 * row * 6 + 2 * column
        expected = torch.cat([x[:, corner + offset] for offset in (0, 1, 6, 7)], -1)
        assert torch.equal(found[:, row * 3 + column], expected)


def test_unshuffle_is_pixel_unshuffle_but_for_the_order_of_channels() -> None:
    x = torch.randn(1, 16, 2)
    image = x.transpose(1, 2).reshape(1, 2, 4, 4)
    theirs = torch.nn.functional.pixel_unshuffle(image, 2).reshape(1, 2, 4, 4).transpose(1, 2)
    assert torch.equal(unshuffle(x, (4, 4), (2, 2)), theirs.reshape(1, 8, 4).transpose(1, 2))


def test_unshuffle_refuses_what_does_not_tile() -> None:
    with pytest.raises(ValueError, match="do not tile"):
        unshuffle(torch.randn(1, 15, 2), (3, 5), (2, 2))


def test_stack_concatenates_neighbours_and_fills_up_with_zeros() -> None:
    x = torch.arange(1.0, 11.0).reshape(1, 5, 2)
    assert stack(x, 2).tolist() == [[[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 0, 0]]]
    assert torch.equal(stack(x, 1), x)


@pytest.mark.parametrize(("grid", "window"), CASES)
def test_pooling_exports(grid: tuple[int, ...], window: tuple[int, ...], tmp_path: Path) -> None:
    example, x = torch.randn(2, math.prod(grid), 4), torch.randn(3, math.prod(grid), 4)
    found = run(lambda x: pool(x, None, grid, window)[0], [example], [x], tmp_path)[0]
    torch.testing.assert_close(torch.from_numpy(found), pool(x, None, grid, window)[0])


def test_unshuffle_and_stack_export(tmp_path: Path) -> None:
    example, x = torch.randn(2, 24, 4), torch.randn(3, 24, 4)
    both = run(lambda x: (unshuffle(x, (4, 6), (2, 3)), stack(x, 5)), [example], [x], tmp_path)
    assert torch.equal(torch.from_numpy(both[0]), unshuffle(x, (4, 6), (2, 3)))
    assert torch.equal(torch.from_numpy(both[1]), stack(x, 5))
