"""Do the exported graphs compute what the model computes? Prompts with random images, then steps.

The artifact's side is the runtime's own cache, which a product uses; PyTorch's side reads each prompt by
itself, so that rows are seen not to depend on their batch. Tolerances are those of `language.parity`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paring.transforms._decoder import Growing, Tokens
from paring.transforms._vision_language import VisionLanguage
from paring_runtimes.engines import Options, engines
from paring_runtimes.generation.image_cache import ImageCache
from paring_runtimes.generation.image_graphs import opened
from paring_runtimes.generation.language_model import LanguageModel

from ..language.parity import LanguageParity, Prompt, case_of, summary, tolerances


@dataclass(frozen=True)
class ImagePrompt:
    """Prompts, each with one image: ids with the image's token in them, and pixels [B, 3, H, W]."""

    text: Prompt
    rows: list[list[int]]
    pixels: np.ndarray


def with_images(model: VisionLanguage, prompts: list[Prompt]) -> list[ImagePrompt]:
    """Put an image into each prompt, before its second half."""
    found = []
    other = 0 if model.image_token else 1
    for index, prompt in enumerate(prompts):
        rows = []
        for ids, length in zip(prompt.ids, prompt.lengths, strict=True):
            own = [other if token == model.image_token else int(token) for token in ids[-length:]]
            rows.append([*own[: length // 2], model.image_token, *own[length // 2 :]])
        shape = (len(rows), *model.pixel_shape)
        pixels = np.random.default_rng(index).standard_normal(shape, dtype=np.float32)
        found.append(ImagePrompt(prompt, rows, pixels))
    return found


def open_graphs(folder: Path, facts: LanguageModel) -> Callable[[np.ndarray, int], ImageCache]:
    """What makes a cache for pixels and a number of rows, from the graphs in `folder`."""
    assert facts.image is not None
    assert facts.in_place is not None
    engine, options = engines()["onnxruntime"], Options()
    image = facts.image
    graphs = opened(image, lambda name: engine.open_session(folder / name, options))
    in_place = engine.open_session(folder / facts.in_place, options)
    return lambda pixels, batch: ImageCache(in_place, facts, graphs, pixels, batch)


def compare(
    model: VisionLanguage,
    new_cache: Callable[[np.ndarray, int], Any],
    inputs: list[ImagePrompt],
    steps: int,
    precision: str = "fp32",
    atol: float | None = None,
    rtol: float | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> LanguageParity:
    """Run both on every prompt and `steps` more tokens, which are the model's own choice.

    Args:
        model: the reference, in fp32.
        new_cache: makes the artifact's cache of (pixels, batch).
        inputs: the prompts.
        steps: how many tokens follow each.
        precision: of the artifact.
        atol, rtol: in place of the precision's own.
        progress: told the name of each case.
    """
    own = tolerances(precision, len(model.tower.trunk.blocks) + len(model.decoder.layers))
    tolerance = (own[0] if atol is None else atol, own[1] if rtol is None else rtol)
    cases = []
    for prompt in inputs:
        progress(prompt.text.name)
        rows = [
            list(reference(model, ids, torch.from_numpy(pixels)[None], steps))
            for ids, pixels in zip(prompt.rows, prompt.pixels, strict=True)
        ]
        expected = [np.concatenate(step) for step in zip(*rows, strict=True)]
        cache = new_cache(prompt.pixels, len(prompt.rows))
        actual = [np.array(cache.prefill(prompt.rows))]
        actual += [np.array(cache.step([int(i) for i in step.argmax(1)])) for step in expected[:-1]]
        cases.append(case_of("prefill.onnx, in_place.onnx", prompt.text, expected, actual, tolerance))
    return summary(cases, precision, tolerance)


@torch.inference_mode()
def reference(
    model: VisionLanguage, ids: list[int], pixels: torch.Tensor, steps: int
) -> Iterator[np.ndarray]:
    """The model's logits [1, V] after one prompt and after each of `steps` greedy tokens."""
    place = ids.index(model.image_token)
    features, keys = model.see(pixels, torch.tensor([ids[place + 1 :]]))
    embeds = model.embed(torch.tensor([ids]))
    read = model.prefill(embeds[:, :place], features, embeds[:, place + 1 :], keys)
    logits, past = read.logits, read.memory
    position = len(ids) - 1 + model.image_tokens
    yield logits.numpy()
    for step in range(steps):
        x = model.embed(logits.argmax(1, keepdim=True))
        one = torch.ones(1, 1, dtype=torch.bool)
        masks = [torch.ones(1, own.key.shape[2] + 1, dtype=torch.bool) for own in past]
        tokens = Tokens(x, torch.full((1, 1), position + step), one)
        found = model.decoder.run(tokens, Growing(past, masks), reduce=False)
        logits, past = model.decoder.logits(found.tokens.x)[:, 0], found.memory
        yield logits.numpy()
