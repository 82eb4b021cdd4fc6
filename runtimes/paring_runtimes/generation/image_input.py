"""Images as callers give them, to an encoder's pixels. Pillow is needed for files and for resizing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.errors import InputError, MissingExtraError
from paring_runtimes.generation.image_facts import ImageFacts
from paring_runtimes.generation.image_tiles import views

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paring_runtimes.generation.encoded_image import EncodedImage

    OneImage = str | os.PathLike[str] | NDArray[Any]
    Images = OneImage | EncodedImage | Sequence[OneImage] | Sequence[EncodedImage]


def prepare(images: OneImage | Sequence[OneImage], facts: ImageFacts, prompts: int) -> NDArray[np.float32]:
    """Return pixels [N, 3, H, W] of one image for all prompts (N = 1), or of one for each.

    Of a model that sees images in tiles too they are [N, views, 3, H, W].

    Args:
        images: a file's path, uint8 [H, W, 3] or [H, W] of any size, float32 that is prepared already
            (`ImageFacts.pixel_shape`); or a list of those, one a prompt.
        facts: how the model wants them.
        prompts: how many there are.

    Raises:
        InputError: an image that cannot be read, of another dtype or shape, or too few or too many.
        MissingExtraError: Pillow is needed and not installed.
    """
    if isinstance(images, (str, os.PathLike, np.ndarray)):
        return _pixels(images, facts)[None]
    given = list(images)
    if len(given) != prompts:
        raise InputError(f"image: expected one, or one a prompt ({prompts}), given {len(given)}")
    return np.stack([_pixels(image, facts) for image in given])


def _pixels(image: Any, facts: ImageFacts) -> NDArray[np.float32]:
    if isinstance(image, (str, os.PathLike)):
        image = _read(Path(image))
    if not isinstance(image, np.ndarray):
        raise InputError(f"image: expected a path or an array, given a {type(image).__name__}")
    if image.dtype == np.float32 and image.shape == facts.pixel_shape:
        return image
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise InputError(
            f"image: expected uint8 (height, width, 3) or (height, width), or float32 {facts.pixel_shape}"
            f" that is prepared already, given {image.dtype} {image.shape}"
        )
    colour = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    if min(colour.shape[:2]) < 1:
        raise InputError(f"image: it has no pixels, given {image.shape}")
    if facts.tiles is None:
        return _normal(_sized(colour, facts), facts)
    every = views(colour, facts.size, facts.tiles, _resized)
    return np.stack([_normal(view, facts) for view in every])


def _normal(image: NDArray[Any], facts: ImageFacts) -> NDArray[np.float32]:
    """uint8 [H, W, 3] -> normalised [3, H, W]."""
    scaled = image.astype(np.float32) / np.float32(255)
    normal = (scaled - np.array(facts.mean, np.float32)) / np.array(facts.std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1))


def _sized(image: NDArray[Any], facts: ImageFacts) -> NDArray[Any]:
    """Resize, bicubic, and cut the centre out; what the encoder's size exceeds is black."""
    height, width = image.shape[:2]
    wanted = facts.size
    if facts.shortest_edge is not None:
        edge, short, long = facts.shortest_edge, min(height, width), max(height, width)
        other = int(edge * long / short)
        wanted = (edge, other) if height <= width else (other, edge)
    return _centre(_resized(image, wanted), facts.size)


def _resized(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Bicubic, to (height, width)."""
    if image.shape[:2] == size:
        return image
    library = _pillow()
    return np.asarray(library.fromarray(image).resize(size[::-1], library.Resampling.BICUBIC))


def _centre(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    result = np.zeros((*size, 3), image.dtype)
    top, left = ((have - want) // 2 for have, want in zip((height, width), size, strict=True))
    rows, columns = min(height, size[0]), min(width, size[1])
    up, over = max(-top, 0), max(-left, 0)
    part = image[max(top, 0) : max(top, 0) + rows, max(left, 0) : max(left, 0) + columns]
    result[up : up + rows, over : over + columns] = part
    return result


def _read(path: Path) -> NDArray[Any]:
    library = _pillow()
    try:
        with library.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, library.DecompressionBombError) as error:
        raise InputError(f"image: {path} cannot be read ({error})") from None


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("reading or resizing an image", "llm") from error
    return Image
