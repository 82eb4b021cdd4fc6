"""The cache of prompts with an image: another graph reads them, the in-place graph goes on from there.

Where the prompt's graph drops image tokens on the way, layers hold differing numbers of rows. The next
token's position is that behind the whole prompt all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.engines import NativeSession
from paring_runtimes.errors import ArtifactError, InputError
from paring_runtimes.generation.encoded_image import EncodedImage, encode
from paring_runtimes.generation.image_facts import ImageFacts
from paring_runtimes.generation.in_place_cache import InPlaceCache, room
from paring_runtimes.generation.language_model import LanguageModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageGraphs:
    """The open graphs that prompts with images need."""

    encoder: NativeSession
    embed: NativeSession
    prefill: NativeSession


class ImageCache(InPlaceCache):
    """The cache of one batch, each of whose prompts has one image. For one thread.

    Args:
        native: the in-place graph.
        model: its facts.
        graphs: what reads the prompts.
        pixels: [1 or batch, 3, H, W], or [1 or batch, views, 3, H, W]; or what the encoder made of them.
        batch: how many prompts.
        new_tokens: how many tokens will follow the prompts at most.
    """

    def __init__(
        self,
        native: NativeSession,
        model: LanguageModel,
        graphs: ImageGraphs,
        pixels: NDArray[np.float32] | EncodedImage,
        batch: int,
        new_tokens: int = 1,
    ) -> None:
        super().__init__(native, model, batch, new_tokens)
        assert model.image is not None
        self._image, self._graphs, self._pixels = model.image, graphs, pixels

    def prefill(self, prompts: Sequence[Sequence[int]]) -> NDArray[Any]:
        """Read the prompts, one after the other; return the logits after each, [batch, vocab]."""
        encoded = self._encoded()
        presents = self._model.cache_names("present")
        found = []
        for row, prompt in enumerate(prompts):
            own = {name: value[row : row + 1] for name, value in encoded.items()}
            feeds = {**self._embedded(prompt), **own}
            found.append(self._graphs.prefill.run(["logits", *presents], feeds))
            self.lengths[row] = len(prompt) - 1 + self._image.tokens
            for layer, group in enumerate(self._groups):
                self.rows[group, row] = found[row][1 + 2 * layer].shape[2]
        self._reserve(self.rows.max(axis=1) + room(self._new_tokens))
        for row, (_, *values) in enumerate(found):
            for name, value in zip(self._names, values, strict=True):
                self.buffers[name][row, :, : value.shape[2]] = value[0]
        return np.concatenate([logits for logits, *_ in found])

    def _encoded(self) -> Mapping[str, NDArray[Any]]:
        """Features, and keys where there are, of every row."""
        seen = self._pixels
        if not isinstance(seen, EncodedImage):
            seen = encode(seen, self._graphs.encoder, self._image)
        return {
            name: np.broadcast_to(value, (self._batch, *value.shape[1:]))
            for name, value in seen.values.items()
        }

    def _embedded(self, prompt: Sequence[int]) -> Mapping[str, NDArray[Any]]:
        """The text before and after the image."""
        ids = np.array(prompt, np.int64)[None]
        (embeds,) = self._graphs.embed.run(["inputs_embeds"], {"input_ids": ids})
        place = list(prompt).index(self._image.token_id)
        return {"before": embeds[:, :place], "after": embeds[:, place + 1 :]}


def check_prompt(ids: Sequence[int], image: ImageFacts, seen: bool, most: int) -> None:
    """Check that a prompt has a place for its image, and none without one.

    Args:
        ids: of the prompt.
        image: the model's facts.
        seen: whether an image is given.
        most: the model's positions.

    Raises:
        InputError: says which.
    """
    places = list(ids).count(image.token_id)
    if places != int(seen):
        given = "an image is given" if seen else "no image is given"
        raise InputError(
            f"prompt: {given}, so that the image token (id {image.token_id}) must stand in it"
            f" {'once' if seen else 'nowhere'}, not {places} times"
        )
    if seen and ids[-1] == image.token_id:
        raise InputError("prompt: text must follow the image")
    if seen and len(ids) - 1 + image.tokens > most:
        raise InputError(
            f"prompt: {len(ids) - 1} tokens and {image.tokens} of the image, and the model has positions for"
            f" {most}; shorten it"
        )


def check_graphs(folder: Path, graphs: ImageGraphs, model: LanguageModel) -> None:
    """Check that the graphs take and give what `ImageCache` feeds and reads.

    Raises:
        ArtifactError: a name differs.
    """
    assert model.image is not None
    keys = ["keys"] if model.image.keys else []
    wanted = (
        (model.image.encoder, graphs.encoder, ["pixel_values"], ["image_features", *keys]),
        (model.image.embed, graphs.embed, ["input_ids"], ["inputs_embeds"]),
        (
            model.image.prefill,
            graphs.prefill,
            ["before", "image_features", "after", *keys],
            ["logits", *model.cache_names("present")],
        ),
    )
    for file, native, inputs, outputs in wanted:
        taken, given = ({spec.name for spec in side} for side in (native.inputs, native.outputs))
        if taken != set(inputs) or given != set(outputs):
            differing = ", ".join(sorted((taken ^ set(inputs)) | (given ^ set(outputs))))
            raise ArtifactError(f"{folder / file}: not that graph; missing or unknown: {differing}")
