"""From uint8 images to a model's input, in NumPy and Pillow: what a product has to do as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from paring_runtimes.errors import MissingExtraError, SourceError

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's "L"


@dataclass(frozen=True)
class Preprocess:
    """Resize, pad with black, then y = (x / 255 - mean) / std.

    Attributes:
        size: (height, width) to resize to in pixels, bilinear and antialiased; None keeps the size.
        channels: 1 or 3. Grey images are repeated, colour ones become their luma.
        padding: black pixels put on each side, after resizing.
        mean, std: one number, or one a channel, on the scale 0 to 1.

    Raises:
        SourceError: a field is out of its range.
    """

    size: tuple[int, int] | None = None
    channels: int = 3
    padding: int = 0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise SourceError(f"preprocess: channels {self.channels} must be 1 or 3")
        if self.padding < 0 or (self.size is not None and min(self.size) < 1):
            raise SourceError(f"preprocess: size {self.size} and padding {self.padding} must be positive")
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if count not in (1, self.channels):
                raise SourceError(f"preprocess: {count} numbers in {name} for {self.channels} channels")
        if min(self.std) <= 0:
            raise SourceError(f"preprocess: std {self.std} must be above 0")

    @classmethod
    def recorded(cls, known: Mapping[str, Any]) -> Preprocess:
        """As a manifest's `source.preprocess` tells it: lists for tuples."""
        size = None if known["size"] is None else tuple(known["size"])
        return cls(**{**known, "size": size, "mean": tuple(known["mean"]), "std": tuple(known["std"])})

    def overridden(
        self,
        *,
        size: tuple[int, int] | None = None,
        channels: int | None = None,
        padding: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> Preprocess:
        """A copy in which whatever is not None replaces the field."""
        return replace(
            self,
            size=self.size if size is None else size,
            channels=self.channels if channels is None else channels,
            padding=self.padding if padding is None else padding,
            mean=self.mean if mean is None else tuple(mean),
            std=self.std if std is None else tuple(std),
        )

    def apply(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """[N, H, W] or [N, H, W, C] uint8 -> [N, channels, H', W'] float32."""
        if images.ndim == 3:
            images = images[..., None]
        x = _with_channels(images.astype(np.float32) / np.float32(255), self.channels)
        if self.size is not None and x.shape[1:3] != self.size:
            x = _resized(x, self.size)
        edge = (self.padding, self.padding)
        x = np.pad(x, ((0, 0), edge, edge, (0, 0)))
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        x = np.asarray((x - mean) / std, np.float32)
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def _with_channels(x: npt.NDArray[np.float32], channels: int) -> npt.NDArray[np.float32]:
    """[N, H, W, C] -> [N, H, W, channels]"""
    if x.shape[3] == channels:
        return x
    if channels == 1:
        return np.asarray(x @ LUMA[:, None], np.float32)
    return np.repeat(x, channels, axis=3)


def _resized(x: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """[N, H, W, C] -> [N, size[0], size[1], C], in floating point: rounding to bytes would show."""
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError("resizing images", "torch") from error
    resized = np.empty((len(x), *size, x.shape[3]), np.float32)
    for index, image in enumerate(x):
        for channel in range(x.shape[3]):
            plane = Image.fromarray(np.ascontiguousarray(image[..., channel]))
            wide = plane.resize((size[1], size[0]), Image.Resampling.BILINEAR)
            resized[index, ..., channel] = np.asarray(wide)
    return resized
