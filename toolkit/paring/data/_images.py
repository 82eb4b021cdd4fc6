"""Labelled images, checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paring_runtimes.errors import SourceError

LICENCE_UNKNOWN = "not stated"


@dataclass(frozen=True, eq=False)
class ImageData:
    """A set of labelled images.

    Attributes:
        images: [N, H, W, C] uint8, C 1 or 3.
        labels: [N] int64, the index of the right class.
        class_names: a name for each class; the index itself where the data has none.
        licence: what the data says of its licence, or "not stated".
        digest: SHA-256 over the images, the labels and their shapes.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    licence: str
    digest: str


def evenly(count: int, limit: int | None) -> npt.NDArray[np.int64]:
    """Indices of at most `limit` of `count` items, evenly spaced from the first."""
    kept = count if limit is None else min(limit, count)
    return np.arange(kept, dtype=np.int64) * count // max(kept, 1)


def labelled(
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
    *,
    where: str,
    limit: int | None = None,
    class_names: tuple[str, ...] = (),
    licence: str = LICENCE_UNKNOWN,
) -> ImageData:
    """Check images [N, H, W] or [N, H, W, C] and labels [N], and keep `limit` of them.

    Raises:
        SourceError: a dtype, a shape, a count or a label is wrong; `where` opens the message.
    """
    if images.ndim == 3:
        images = images[..., None]
    _check_images(images, where)
    _check_labels(labels, len(images), len(class_names), where)
    chosen = evenly(len(images), limit)
    images, integers = np.ascontiguousarray(images[chosen]), labels[chosen].astype(np.int64)
    names = class_names or tuple(str(index) for index in range(int(labels.max()) + 1))
    return ImageData(images, integers, names, licence, _digest(images, integers))


def _check_images(images: npt.NDArray[np.uint8], where: str) -> None:
    if images.dtype != np.uint8:
        raise SourceError(f"{where}: images are {images.dtype}; uint8 from 0 to 255 is needed")
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise SourceError(
            f"{where}: images have shape {list(images.shape)};"
            " [N, H, W], [N, H, W, 1] or [N, H, W, 3] is needed"
        )
    if 0 in images.shape:
        raise SourceError(f"{where}: holds no images (shape {list(images.shape)})")


def _check_labels(labels: npt.NDArray[np.integer], images: int, classes: int, where: str) -> None:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise SourceError(
            f"{where}: labels are {labels.dtype} of shape {list(labels.shape)}; integers [N] are needed"
        )
    if len(labels) != images:
        raise SourceError(f"{where}: {images} images, but {len(labels)} labels")
    if labels.min() < 0:
        raise SourceError(f"{where}: label {labels.min()} is below 0")
    if classes and labels.max() >= classes:
        raise SourceError(f"{where}: label {labels.max()}, but only {classes} class names")


def _digest(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> str:
    digest = hashlib.sha256(repr(images.shape).encode())
    digest.update(images.data)
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()
