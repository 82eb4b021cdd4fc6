"""Common corruptions of images at severities 1 to 5, as ImageNet-C defines them.

"Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", Hendrycks and Dietterich,
ICLR 2019, https://arxiv.org/abs/1903.12261. The strengths are those of the authors' code
(https://github.com/hendrycks/robustness, commit 8190fe3), which depend on the size of the images:
ImageNet-C (224 pixels), Tiny ImageNet-C (64) and CIFAR-10-C (32). ImageNet-C's files were also saved as
JPEG of quality 85; these images are not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from io import BytesIO
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from paring_runtimes.errors import MissingExtraError

Images = npt.NDArray[np.uint8]
Corrupt = Callable[[Images], Images]
CorruptionName = Literal["gaussian_noise", "gaussian_blur", "defocus_blur", "contrast", "jpeg_compression"]
CORRUPTIONS: tuple[CorruptionName, ...] = get_args(CorruptionName)
SEVERITIES = (1, 2, 3, 4, 5)
SIZES = {"CIFAR-10-C": 32, "Tiny ImageNet-C": 64, "ImageNet-C": 224}  # pixels a side
STRENGTHS: dict[str, dict[str, tuple[Any, ...]]] = {
    "gaussian_noise": {  # standard deviation, of pixels scaled to 0..1
        "CIFAR-10-C": (0.04, 0.06, 0.08, 0.09, 0.10),
        "Tiny ImageNet-C": (0.04, 0.08, 0.12, 0.15, 0.18),
        "ImageNet-C": (0.08, 0.12, 0.18, 0.26, 0.38),
    },
    "gaussian_blur": {  # standard deviation, pixels
        "CIFAR-10-C": (0.4, 0.6, 0.7, 0.8, 1.0),
        "Tiny ImageNet-C": (0.5, 0.75, 1.0, 1.25, 1.5),
        "ImageNet-C": (1.0, 2.0, 3.0, 4.0, 6.0),
    },
    "defocus_blur": {  # the disk's radius and the standard deviation of its soft edge, pixels
        "CIFAR-10-C": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
        "Tiny ImageNet-C": ((0.5, 0.6), (1.0, 0.1), (1.5, 0.1), (2.5, 0.01), (3.0, 0.1)),
        "ImageNet-C": ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)),
    },
    "contrast": {  # what the distance from each channel's mean is multiplied by
        "CIFAR-10-C": (0.75, 0.5, 0.4, 0.3, 0.15),
        "Tiny ImageNet-C": (0.4, 0.3, 0.2, 0.1, 0.05),
        "ImageNet-C": (0.4, 0.3, 0.2, 0.1, 0.05),
    },
    "jpeg_compression": {  # libjpeg's quality
        "CIFAR-10-C": (80, 65, 58, 50, 40),
        "Tiny ImageNet-C": (65, 58, 50, 40, 25),
        "ImageNet-C": (25, 18, 15, 10, 7),
    },
}
SMALL_DISK = 8  # pixels: up to this radius the edge of the disk is softened over 3 pixels, above over 5


def strengths_for(height: int, width: int) -> str:
    """The set of strengths whose image size is nearest, by ratio, to the shorter side."""
    side = min(height, width)
    return min(SIZES, key=lambda name: abs(math.log(side / SIZES[name])))


def corruption(name: str, severity: int, strengths: str, seed: int = 0) -> Corrupt:
    """A function that corrupts [N, H, W, C] uint8 images, C 1 or 3.

    Called on consecutive batches of a data set it gives the same noise however the set is cut. The
    corrupted values are cut to whole numbers, not rounded, as the authors do.

    Args:
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        strengths: the set of strengths, a key of `SIZES`; see `strengths_for`.
        seed: of the noise.
    """
    strength = STRENGTHS[name][strengths][severity - 1]
    if name == "jpeg_compression":
        return lambda images: np.stack([_through_jpeg(image, strength) for image in images])
    random = np.random.default_rng((seed, severity))
    by_name: dict[str, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
        "gaussian_noise": lambda x: x + random.normal(scale=strength, size=x.shape),
        "gaussian_blur": lambda x: _blurred(x, strength),
        "defocus_blur": lambda x: _defocused(x, *strength),
        "contrast": lambda x: _faded(x, strength),
    }
    change = by_name[name]
    return lambda images: _pixels(change(images / 255.0))


def _pixels(x: npt.NDArray[np.float64]) -> Images:
    # The small addend: 100 / 255 * 255 may come out just below 100.
    return (np.clip(x, 0, 1) * 255 + 1e-6).astype(np.uint8)


def _blurred(x: npt.NDArray[np.float64], sigma: float) -> npt.NDArray[np.float64]:
    """Over 4 standard deviations, the border's pixels repeated."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(x, (0, sigma, sigma, 0), mode="nearest", truncate=4.0))


def _faded(x: npt.NDArray[np.float64], factor: float) -> npt.NDArray[np.float64]:
    mean = x.mean(axis=(1, 2), keepdims=True)
    return np.asarray((x - mean) * factor + mean)


def _defocused(x: npt.NDArray[np.float64], radius: float, softness: float) -> npt.NDArray[np.float64]:
    """[N, H, W, C] convolved with a disk, the image mirrored at its border's pixels."""
    from scipy.signal import fftconvolve

    kernel = disk(radius, softness)
    reach = len(kernel) // 2
    wide = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="reflect")
    return np.asarray(fftconvolve(wide, kernel[None, :, :, None], mode="valid", axes=(1, 2)))


def disk(radius: float, softness: float) -> npt.NDArray[np.float64]:
    """[K, K]: a disk on the pixels' grid of sum 1, then a short Gaussian over its edge.

    The Gaussian mirrors at the end of the authors' grid, which disks of radius 8 and 10 touch: their sum
    becomes a little more than 1, here as there.
    """
    from scipy.ndimage import correlate1d

    reach = SMALL_DISK if radius <= SMALL_DISK else int(radius)
    taps = np.arange(-1, 2) if radius <= SMALL_DISK else np.arange(-2, 3)
    grid = np.arange(-reach, reach + 1)
    sharp = (grid[:, None] ** 2 + grid[None, :] ** 2 <= radius**2).astype(np.float64)
    weights = np.exp(-(taps**2) / (2 * softness**2))
    kernel = sharp / sharp.sum()
    for axis in (0, 1):
        kernel = correlate1d(kernel, weights / weights.sum(), axis=axis, mode="mirror")
    empty = int(np.flatnonzero(kernel.max(axis=0) > 1e-12)[0])  # a smaller kernel computes the same, sooner
    return np.asarray(kernel[empty : len(kernel) - empty, empty : len(kernel) - empty])


def _through_jpeg(image: Images, quality: int) -> Images:
    """[H, W, C] as JPEG and back; images of one channel as grey JPEG."""
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError("JPEG compression", "torch") from error
    grey = image.shape[2] == 1
    stored = BytesIO()
    Image.fromarray(image[..., 0] if grey else image).save(stored, "JPEG", quality=quality)
    found = np.asarray(Image.open(stored), np.uint8)
    return found[..., None] if grey else found
