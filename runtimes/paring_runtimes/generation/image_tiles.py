"""LLaVA-NeXT's views of an image: the whole one, and tiles of it enlarged. NumPy; `resize` is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.generation.image_facts import Tiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Resize = Callable[[NDArray[Any], tuple[int, int]], NDArray[Any]]


def views(image: NDArray[Any], size: tuple[int, int], tiles: Tiles, resize: Resize) -> list[NDArray[Any]]:
    """The image squeezed to `size`, then its tiles in raster order, [H, W, 3] each.

    An image of another shape than the model was converted for gets black bars first.

    Args:
        image: [H, W, 3].
        size: (height, width) of a view.
        tiles: of the model.
        resize: an image to (height, width), bicubic.
    """
    image = shaped(image, tiles.image)
    canvas = fitted(image, (tiles.grid[0] * size[0], tiles.grid[1] * size[1]), resize)
    cut = canvas.reshape(tiles.grid[0], size[0], tiles.grid[1], size[1], 3).transpose(0, 2, 1, 3, 4)
    return [resize(image, size), *cut.reshape(-1, *size, 3)]


def shaped(image: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """The image within black bars, so that its sides are in the ratio of `shape`, to a pixel."""
    height, width = image.shape[:2]
    tall = max(height, round(width * shape[0] / shape[1]))
    broad = max(width, round(height * shape[1] / shape[0]))
    # One of the two is what it was; a difference that rounding explains is none.
    return centred(image, (tall if tall > height + 1 else height, broad if broad > width + 1 else width))


def fitted(image: NDArray[Any], canvas: tuple[int, int], resize: Resize) -> NDArray[Any]:
    """The image as large as it fits onto the canvas, in its middle, with black around it."""
    height, width = image.shape[:2]
    down, across = canvas[0] / height, canvas[1] / width
    if across < down:
        size = (min(math.ceil(height * across), canvas[0]), canvas[1])
    else:
        size = (canvas[0], min(math.ceil(width * down), canvas[1]))
    return centred(resize(image, size), canvas)


def centred(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """The image in the middle of black of at least its size; an odd pixel goes below or to the right."""
    if image.shape[:2] == size:
        return image
    result = np.zeros((*size, 3), image.dtype)
    top, left = ((want - have) // 2 for want, have in zip(size, image.shape, strict=False))
    result[top : top + image.shape[0], left : left + image.shape[1]] = image
    return result
