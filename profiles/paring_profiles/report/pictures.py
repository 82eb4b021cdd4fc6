"""Kept, dropped and merged patches, drawn over sample images as SVG.

An artifact folder may hold `samples.npz`:

- `images`      uint8 [n, H, W, C], C 1 or 3
- `labels`      str [n], or empty
- `token_maps`  int32 [n, stages, patches]: the token that a patch lives in after a stage, or -1
- `grid`        int [2]: rows and columns of patches
- `stage_names` str [stages]
- `fused_token` int [stages]: the token that inattentive patches were fused into, -1 for none
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from paring_runtimes.errors import ArtifactError

SAMPLES_FILE = "samples.npz"
MAX_SAMPLES = 4
MAX_STAGES = 5
CRISP_BELOW = 128  # pixels: narrower images are shown with their pixels as squares

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """The arrays of `samples.npz`, checked against each other."""

    images: NDArray[np.uint8]
    labels: list[str]
    token_maps: Ints
    rows: int
    columns: int
    stage_names: list[str]
    fused_token: list[int]


@dataclass(frozen=True)
class Picture:
    """One image of a strip: an `<svg>` and the words under it."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Strip:
    """One sample: the original, then what is left of it after some of the stages."""

    title: str
    pictures: tuple[Picture, ...]


def strips(folder: Path, prefix: str) -> list[Strip]:
    """Strips for the first samples of an artifact; none when it has no `samples.npz`.

    `prefix` makes element ids unique within the document.

    Raises:
        ArtifactError: the file is there and is not what this module's docstring says.
    """
    path = folder / SAMPLES_FILE
    if not path.is_file():
        return []
    samples = read_samples(path)
    count = min(MAX_SAMPLES, len(samples.images))
    return [_strip(samples, index, f"{prefix}-{index}") for index in range(count)]


def read_samples(path: Path) -> Samples:
    """Reads and checks `samples.npz`.

    Raises:
        ArtifactError: unreadable, a missing array, or shapes that do not fit each other.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images = np.asarray(arrays["images"])
            maps = np.asarray(arrays["token_maps"]).astype(np.int64)
            rows, columns = (int(size) for size in arrays["grid"])
            names = [str(name) for name in arrays["stage_names"]]
            fused = [int(token) for token in arrays["fused_token"]]
            labels = [str(label) for label in arrays["labels"]]
    except (OSError, KeyError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise ArtifactError(f"{path}: no readable sample pictures: {error}") from error
    _check(path, images, maps, rows * columns, len(names), len(fused))
    return Samples(images, labels, maps, rows, columns, names, fused)


def _check(path: Path, images: NDArray[Any], maps: Ints, patches: int, stages: int, fused: int) -> None:
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[3] not in (1, 3):
        raise ArtifactError(
            f"{path}: images are {images.dtype} {images.shape}; uint8 [n, H, W, 1 or 3] expected"
        )
    expected = (len(images), stages, patches)
    if maps.shape != expected or fused != stages:
        raise ArtifactError(
            f"{path}: token_maps are {maps.shape} with {fused} fused tokens; "
            f"[n, stages, rows * columns] = {expected} with {stages} expected"
        )


def _strip(samples: Samples, index: int, name: str) -> Strip:
    label = samples.labels[index] if index < len(samples.labels) else f"sample {index + 1}"
    original = Picture(_original(samples.images[index], name, label), "original")
    stages = [_stage(samples, index, stage, name, label) for stage in _spread(samples)]
    return Strip(label, (original, *stages))


def _spread(samples: Samples) -> list[int]:
    """At most MAX_STAGES stages, evenly spread, with the last."""
    count = len(samples.stage_names)
    picked = np.linspace(0, count - 1, min(count, MAX_STAGES)).round().astype(int)
    return [int(stage) for stage in picked]


def _original(image: NDArray[np.uint8], name: str, label: str) -> str:
    height, width = image.shape[:2]
    crisp = ' class="crisp"' if width < CRISP_BELOW else ""
    body = f'<image id="{name}"{crisp} width="{width}" height="{height}" href="{_data_uri(image)}"/>'
    return _svg(width, height, f"{label}: the original image", body)


def _stage(samples: Samples, index: int, stage: int, name: str, label: str) -> Picture:
    image = samples.images[index]
    grid = samples.token_maps[index, stage].reshape(samples.rows, samples.columns)
    tokens = len(np.unique(grid[grid >= 0]))
    fused = samples.fused_token[stage]
    dropped = grid < 0
    fused_in = (grid == fused) if fused >= 0 else np.zeros_like(dropped)
    box = (image.shape[1] / samples.columns, image.shape[0] / samples.rows)
    merged = _merged_groups(grid, dropped | fused_in)
    body = (
        f'<use href="#{name}"/>'
        + _fills(image, merged, box)
        + _path("dropped", _squares(dropped, box))
        + _path("fused", _squares(fused_in, box))
        + _path("hatch", _diagonals(fused_in, box))
        + _path("outline", "".join(_outline(group, box) for group in merged))
    )
    stage_name = samples.stage_names[stage]
    said = _in_words(dropped, fused_in, merged)
    alt = f"{label}, after {stage_name}: {said}"
    return Picture(_svg(image.shape[1], image.shape[0], alt, body), f"{stage_name}: {tokens} tokens")


def _in_words(dropped: NDArray[np.bool_], fused: NDArray[np.bool_], merged: list[NDArray[np.bool_]]) -> str:
    joined = sum(int(group.sum()) for group in merged)
    gone, in_one = int(dropped.sum()), int(fused.sum())
    parts = [f"{dropped.size - gone - in_one - joined} of {dropped.size} patches kept as they are"]
    parts += [f"{joined} merged into {len(merged)} groups"] if joined else []
    parts += [f"{in_one} fused into one token"] if in_one else []
    parts += [f"{gone} dropped"] if gone else []
    return ", ".join(parts)


def _merged_groups(grid: Ints, apart: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """A mask [rows, columns] for each token that several patches live in; `apart` are left out."""
    tokens, counts = np.unique(grid[~apart], return_counts=True)
    return [grid == token for token in tokens[counts > 1]]


def _fills(image: NDArray[np.uint8], groups: list[NDArray[np.bool_]], box: tuple[float, float]) -> str:
    """Each group in the mean colour of its pixels."""
    paths = []
    for group in groups:
        tall = np.arange(image.shape[0]) * group.shape[0] // image.shape[0]
        wide = np.arange(image.shape[1]) * group.shape[1] // image.shape[1]
        mean = image[group[np.ix_(tall, wide)]].mean(axis=0).round().astype(int)
        red, green, blue = mean if len(mean) == 3 else (mean[0],) * 3
        colour = f"#{red:02x}{green:02x}{blue:02x}"
        paths.append(f'<path fill="{colour}" d="{_squares(group, box)}"/>')
    return "".join(paths)


def _squares(mask: NDArray[np.bool_], box: tuple[float, float]) -> str:
    """Path data of the patches in a mask."""
    wide, tall = box
    return "".join(f"M{x * wide:g} {y * tall:g}h{wide:g}v{tall:g}h{-wide:g}z" for y, x in np.argwhere(mask))


def _diagonals(mask: NDArray[np.bool_], box: tuple[float, float]) -> str:
    """One rising diagonal a patch: neighbours join to a hatch."""
    wide, tall = box
    return "".join(f"M{x * wide:g} {(y + 1) * tall:g}l{wide:g} {-tall:g}" for y, x in np.argwhere(mask))


def _outline(mask: NDArray[np.bool_], box: tuple[float, float]) -> str:
    """Path data of every patch edge between the mask and what is outside."""
    wide, tall = box
    padded = np.pad(mask, 1)
    path = []
    for y, x in np.argwhere(padded[:, 1:] != padded[:, :-1]):
        path.append(f"M{x * wide:g} {(y - 1) * tall:g}v{tall:g}")
    for y, x in np.argwhere(padded[1:] != padded[:-1]):
        path.append(f"M{(x - 1) * wide:g} {y * tall:g}h{wide:g}")
    return "".join(path)


def _path(kind: str, data: str) -> str:
    return f'<path class="{kind}" d="{data}"/>' if data else ""


def _svg(width: int, height: int, alt: str, body: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="patches" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(alt)}">{body}</svg>'
    )


def _data_uri(image: NDArray[np.uint8]) -> str:
    """A PNG as a data URI."""
    from PIL import Image

    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
