"""ImageNet-C's corruptions: against values of the authors' own code, and against the formulas."""

from __future__ import annotations

import numpy as np
import pytest

from paring.corruptions import CORRUPTIONS, SEVERITIES, SIZES, STRENGTHS, corruption, disk, strengths_for

ROWS, COLUMNS, CHANNELS = np.mgrid[0:32, 0:32, 0:3]
PATTERN = ((COLUMNS * 37 + ROWS * 59 + CHANNELS * 83) % 256).astype(np.uint8)
BALL = np.where(np.hypot(*(np.mgrid[0:64, 0:64] - 31)) < 20, 200, 30).astype(np.uint8)[None, :, :, None]
SHADES = np.random.default_rng(0).integers(0, 256, (23, 28, 28, 1), np.uint8)


@pytest.mark.parametrize(
    ("strengths", "name", "severity", "expected"),  # expected: from github.com/hendrycks/robustness 8190fe3
    [
        ("CIFAR-10-C", "gaussian_blur", 1, [3, 39, 76, 113, 150]),
        ("CIFAR-10-C", "gaussian_blur", 5, [34, 60, 94, 127, 154]),
        ("CIFAR-10-C", "defocus_blur", 1, [7, 41, 78, 115, 152]),
        ("CIFAR-10-C", "defocus_blur", 5, [64, 76, 113, 150, 187]),
        ("CIFAR-10-C", "contrast", 1, [31, 59, 87, 115, 142]),
        ("CIFAR-10-C", "contrast", 5, [108, 113, 119, 124, 130]),
        ("ImageNet-C", "gaussian_blur", 1, [34, 60, 94, 127, 154]),
        ("ImageNet-C", "gaussian_blur", 5, [86, 90, 94, 98, 102]),
        ("ImageNet-C", "defocus_blur", 1, [119, 128, 132, 131, 124]),
        ("ImageNet-C", "defocus_blur", 5, [128, 128, 129, 131, 131]),
        ("ImageNet-C", "contrast", 1, [76, 91, 105, 120, 135]),
        ("ImageNet-C", "contrast", 5, [120, 122, 124, 126, 128]),
    ],
)
def test_the_authors_code_gives_the_same_pixels(
    strengths: str, name: str, severity: int, expected: list[int]
) -> None:
    found = corruption(name, severity, strengths)(PATTERN[None])[0]
    np.testing.assert_allclose(found[0, :5, 0].astype(int), expected, atol=1 if name == "defocus_blur" else 0)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_highest_severity_changes_images_more(name: str) -> None:
    for strengths in SIZES:
        assert len(STRENGTHS[name][strengths]) == len(SEVERITIES)
        errors = []
        for severity in SEVERITIES:
            found = corruption(name, severity, strengths)(BALL)
            assert (found.dtype, found.shape) == (np.uint8, BALL.shape)
            errors.append(float(np.abs(found.astype(int) - BALL).mean()))
        assert 0 < errors[0] < errors[-1]


def test_noise_has_its_standard_deviation_and_follows_the_seed() -> None:
    grey = np.full((8, 64, 64, 3), 128, np.uint8)
    found = corruption("gaussian_noise", 3, "CIFAR-10-C", seed=1)(grey)
    assert found.std() == pytest.approx(0.08 * 255, rel=0.02)
    assert np.array_equal(found, corruption("gaussian_noise", 3, "CIFAR-10-C", seed=1)(grey))
    assert not np.array_equal(found, corruption("gaussian_noise", 3, "CIFAR-10-C", seed=2)(grey))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_cut_into_batches_changes_nothing(name: str) -> None:
    whole = corruption(name, 2, "CIFAR-10-C")(SHADES)
    change = corruption(name, 2, "CIFAR-10-C")
    assert np.array_equal(whole, np.concatenate([change(SHADES[:10]), change(SHADES[10:])]))


def test_a_uniform_image_stays_as_it_is_without_noise() -> None:
    for shade in range(256):
        plain = np.full((1, 16, 16, 1), shade, np.uint8)
        for name in ("gaussian_blur", "defocus_blur", "contrast"):
            assert np.array_equal(corruption(name, 5, "CIFAR-10-C")(plain), plain)


def test_the_disk_is_soft_edged() -> None:
    assert disk(1.5, 0.1) == pytest.approx(np.full((3, 3), 1 / 9), abs=1e-9)
    assert disk(0.3, 0.4)[1, 1] == pytest.approx((1 / (1 + 2 * np.exp(-1 / 0.32))) ** 2)
    for radius, softness in STRENGTHS["defocus_blur"]["ImageNet-C"]:
        kernel = disk(radius, softness)
        assert kernel.sum() == pytest.approx(1, abs=0.02 if radius in (8.0, 10.0) else 1e-9)
        assert kernel == pytest.approx(kernel.T)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((28, 28), "CIFAR-10-C"),
        ((32, 200), "CIFAR-10-C"),
        ((45, 45), "CIFAR-10-C"),
        ((46, 46), "Tiny ImageNet-C"),
        ((64, 64), "Tiny ImageNet-C"),
        ((128, 128), "ImageNet-C"),
        ((224, 224), "ImageNet-C"),
        ((518, 384), "ImageNet-C"),
    ],
)
def test_the_strengths_follow_the_size(size: tuple[int, int], expected: str) -> None:
    assert strengths_for(*size) == expected
