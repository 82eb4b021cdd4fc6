"""Parts of the report by themselves: numbers, and the samples that pictures are drawn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paring_profiles.report import quantities
from paring_profiles.report.pictures import read_samples, strips
from paring_runtimes.errors import ArtifactError


def write_samples(folder: Path, **changes: Any) -> Path:
    """One image of 4 x 4 pixels in 2 x 2 patches; the second stage merges the left column."""
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1) * 16
    arrays = {
        "images": image,
        "labels": np.array([], str),
        "token_maps": np.array([[[0, 1, 2, 3], [0, 1, 0, -1]]], np.int32),
        "grid": np.array([2, 2]),
        "stage_names": np.array(["block 1", "block 2"]),
        "fused_token": np.array([-1, -1]),
    }
    np.savez(folder / "samples.npz", **(arrays | changes))
    return folder / "samples.npz"


def test_a_merged_group_has_its_mean_colour_and_one_outline(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    write_samples(tmp_path)
    (strip,) = strips(tmp_path, "s")
    assert strip.title == "sample 1"
    _, untouched, merged = strip.pictures
    assert "<path" not in untouched.svg
    mean = round(float(np.mean([0, 1, 4, 5, 8, 9, 12, 13])) * 16)
    assert f'fill="#{mean:02x}{mean:02x}{mean:02x}" d="M0 0h2v2h-2zM0 2h2v2h-2z"' in merged.svg
    outline = merged.svg.split('class="outline" d="')[1].split('"')[0]
    assert sorted(outline.replace("M", "|M").split("|")[1:]) == sorted(
        ["M0 0v2", "M0 2v2", "M2 0v2", "M2 2v2", "M0 0h2", "M0 4h2"]
    )
    assert 'class="dropped" d="M2 2h2v2h-2z"' in merged.svg
    assert merged.caption == "block 2: 2 tokens"


def test_many_stages_are_thinned_with_the_last_kept(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    write_samples(
        tmp_path,
        token_maps=np.zeros((1, 12, 4), np.int32),
        stage_names=np.array([f"block {i + 1}" for i in range(12)]),
        fused_token=np.full(12, -1),
    )
    (strip,) = strips(tmp_path, "s")
    shown = [picture.caption.split(":")[0] for picture in strip.pictures]
    assert shown == ["original", "block 1", "block 4", "block 7", "block 9", "block 12"]


def test_no_samples_no_pictures(tmp_path: Path) -> None:
    assert strips(tmp_path, "s") == []


def test_truncated_samples_are_refused(tmp_path: Path) -> None:
    path = write_samples(tmp_path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ArtifactError, match=r"samples\.npz"):
        read_samples(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_maps": np.zeros((1, 2, 5), np.int32)}, r"\(1, 2, 5\).*\(1, 2, 4\)"),
        ({"fused_token": np.array([-1])}, "1 fused tokens"),
        ({"images": np.zeros((1, 4, 4, 1), np.float32)}, r"float32 .*uint8 \[n, H, W"),
        ({"labels": np.array([{}], object)}, "no readable sample pictures"),
    ],
)
def test_samples_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        read_samples(write_samples(tmp_path, **changes))


@pytest.mark.parametrize(
    ("low", "high", "value", "expected"),
    [
        (3.181, 3.252, 3.2142, ("3.214", "3.181 to 3.252")),
        (102.12, 102.61, 102.33, ("102.33", "102.12 to 102.61")),
        (0.011, 0.013, 0.0121, ("0.0121", "0.0110 to 0.0130")),
        (1190.0, 1330.0, 1234.5, ("1,234", "1,190 to 1,330")),
    ],
)
def test_intervals_show_their_width(low: float, high: float, value: float, expected: tuple[str, str]) -> None:
    assert quantities.interval(low, high, value) == expected


def test_units() -> None:
    assert quantities.with_prefix(4_321_000_000) == "4.32 G"
    assert quantities.in_bytes(22_100_000) == "22.1 MB"
    assert quantities.in_bytes(512) == "512 B"
    assert quantities.fixed(-0.04, 1) == "0.0"
    assert quantities.fixed(-0.25, 2) == "−0.25"
