"""Images with prompts, as samples for a vision-language model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.errors import SourceError
from paring_runtimes.generation.image_facts import ImageFacts, Tiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .sources import LoadedVisionLanguageModel
    from .transforms._vision_language import VisionLanguage

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


@dataclass(frozen=True, eq=False)
class ImagePrompt:
    """One sample: a file or uint8 [H, W, 3], and a text in which the image's token stands once."""

    image: Path | NDArray[Any]
    prompt: str


def read_image_prompts(data: Path, prompt: str | None = None, limit: int | None = None) -> list[ImagePrompt]:
    """Read samples.

    Args:
        data: a folder of images; a file of JSON lines with `image` (a path, from the file's folder on) and
            `prompt`; or an .npz archive of `images` uint8 [N, H, W, 3] and `prompts` [N].
        prompt: for samples without one.
        limit: at most so many, evenly spaced.

    Raises:
        SourceError: says what cannot be read, or that a prompt is missing.
    """
    if data.is_dir():
        files = sorted(file for file in data.iterdir() if file.suffix.lower() in SUFFIXES)
        found: list[tuple[Any, Any]] = [(file, None) for file in files]
    elif not data.is_file():
        raise SourceError(f"{data}: no such file or folder")
    else:
        found = _archive(data) if data.suffix == ".npz" else _lines(data)
    if not found:
        raise SourceError(f"{data}: holds no image")
    samples = [_sample(data, index, image, own or prompt) for index, (image, own) in enumerate(found)]
    if limit is None or limit >= len(samples):
        return samples
    return [samples[index * len(samples) // limit] for index in range(limit)]


def image_facts_of(model: VisionLanguage, source: LoadedVisionLanguageModel) -> ImageFacts:
    """How the runtime prepares images for a model that has no files yet."""
    told = source.preparation
    return ImageFacts(
        *("", "", ""),
        token_id=model.image_token,
        tokens=model.image_tokens,
        keys=model.tower.keys(),
        size=model.tower.size,
        shortest_edge=told["shortest_edge"],
        mean=told["mean"],
        std=told["std"],
        rows=(),
        tiles=None if model.untile is None else Tiles(model.untile.tiling.grid, model.untile.tiling.image),
    )


def _sample(data: Path, index: int, image: Any, prompt: Any) -> ImagePrompt:
    if not isinstance(prompt, str) or not prompt:
        raise SourceError(f"{data}: image {index} has no prompt; give one for all of them with --prompt")
    return ImagePrompt(image, prompt)


def _lines(file: Path) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise SourceError(f"{file}: no UTF-8 text (byte {error.start})") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
        except ValueError as error:
            raise SourceError(f"{file}, line {number}: no JSON ({error})") from error
        if not isinstance(told, dict) or not isinstance(told.get("image"), str):
            raise SourceError(f'{file}, line {number}: expected {{"image": PATH, "prompt": TEXT}}')
        found.append((file.parent / told["image"], told.get("prompt")))
    return found


def _archive(file: Path) -> list[tuple[Any, Any]]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            images = archive["images"]
            prompts = archive["prompts"].tolist() if "prompts" in archive.files else [None] * len(images)
    except (ValueError, OSError, KeyError) as error:
        raise SourceError(f"{file}: no .npz archive of `images` and `prompts` ({error})") from error
    if len(prompts) != len(images):
        raise SourceError(f"{file}: {len(images)} images, but {len(prompts)} prompts")
    return list(zip(images, prompts, strict=True))
