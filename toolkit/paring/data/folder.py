"""`folder:DIR`: one folder a class, DIR/CLASS/IMAGE; labels count the folders in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paring_runtimes.errors import MissingExtraError, SourceError

from ._images import ImageData, evenly, labelled

HELP = "DIR/CLASS/IMAGE, as torchvision's ImageFolder: labels count the classes in order of name"
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
GREY = {"L", "1"}
COLOUR = {"RGB", "RGBA", "P", "LA", "CMYK", "YCbCr"}


def load(target: str, limit: int | None, size: tuple[int, int] | None) -> ImageData:
    """Read DIR. Only the images that `limit` leaves are decoded."""
    folder = Path(target)
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder")
    classes = sorted(item.name for item in folder.iterdir() if item.is_dir())
    found = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((folder / name).iterdir())
        if file.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise SourceError(f"{folder}: no images; they belong into DIR/CLASS/, one folder a class")
    chosen = [found[index] for index in evenly(len(found), limit)]
    images = _decode([file for file, _ in chosen], size)
    labels = np.array([label for _, label in chosen], np.int64)
    return labelled(images, labels, where=str(folder), class_names=tuple(classes))


def _decode(files: list[Path], size: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
    """[N, H, W, C] uint8: grey when all are grey, resized to `size` when their sizes differ."""
    headers = [_open(file) for file in files]
    mode = "L" if all(found in GREY for found, _ in headers) else "RGB"
    sizes = {pixels for _, pixels in headers}
    if len(sizes) > 1 and size is None:
        small, large = min(sizes), max(sizes)
        raise SourceError(
            f"{files[0].parents[1]}: sizes differ (height, width): {small} to {large};"
            " give the size to resize to, image_size in the recipe's data"
        )
    shared = size if len(sizes) > 1 else None
    return np.stack([_pixels(file, mode, shared) for file in files])


def _pillow() -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError("reading image files", "torch") from error
    return Image


def _open(file: Path) -> tuple[str, tuple[int, int]]:
    """An image's mode and its (height, width), from its header."""
    try:
        with _pillow().open(file) as image:
            mode, (width, height) = str(image.mode), image.size
    except OSError as error:
        raise SourceError(f"{file}: no readable image ({error})") from error
    if mode not in GREY | COLOUR:
        raise SourceError(f"{file}: pixels of mode {mode!r}; 8 bits a channel are needed")
    return mode, (int(height), int(width))


def _pixels(file: Path, mode: str, size: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
    """[H, W, C] uint8"""
    pillow = _pillow()
    try:
        with pillow.open(file) as image:
            converted = image.convert(mode)
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        raise SourceError(f"{file}: damaged image ({error})") from error
    if size is not None:
        converted = converted.resize((size[1], size[0]), pillow.Resampling.BILINEAR)
    pixels = np.asarray(converted, np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels
