"""The cache of prompts with an image: another graph reads them, the in-place graph goes on from there.

Where the prompt's graph drops image tokens on the way, layers hold differing numbers of rows. The next
token's position is that behind the whole prompt all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.engines import NativeSession
from paring_runtimes.errors import InputError
from paring_runtimes.generation.encoded_image import EncodedImage, encode
from paring_runtimes.generation.image_facts import ImageFacts
from paring_runtimes.generation.image_graphs import ImageGraphs
from paring_runtimes.generation.in_place_cache import InPlaceCache, room
from paring_runtimes.generation.language_model import LanguageModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ImageCache(InPlaceCache):
    """The cache of one batch, each of whose prompts has one image. For one thread.

    Args:
        native: the in-place graph.
        model: its facts.
        graphs: what reads the prompts.
        seen: pixels [1 or batch, 3, H, W], or [1 or batch, views, 3, H, W]; or what the encoder made of them.
        batch: how many prompts.
        new_tokens: how many tokens will follow the prompts at most.
    """

    def __init__(
        self,
        native: NativeSession,
        model: LanguageModel,
        graphs: ImageGraphs,
        seen: NDArray[np.float32] | EncodedImage,
        batch: int,
        new_tokens: int = 1,
    ) -> None:
        super().__init__(native, model, batch, new_tokens)
        assert model.image is not None
        self._image, self._graphs, self._seen = model.image, graphs, seen

    def prefill(self, prompts: Sequence[Sequence[int]]) -> NDArray[Any]:
        """Read the prompts, one after the other; return the logits after each, [batch, vocab]."""
        encoded = self._encoded()
        presents = self._model.cache_names("present")
        found = []
        for row, prompt in enumerate(prompts):
            own = {name: value[row : row + 1] for name, value in encoded.items()}
            feeds = {**self._embedded(prompt), **self._compressed(prompt, own)}
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
        """What the encoder gives, of every row."""
        seen = self._seen
        if not isinstance(seen, EncodedImage):
            seen = encode(seen, self._graphs.encoder, self._image)
        whole = seen.values.items()
        return {name: np.broadcast_to(own, (self._batch, *own.shape[1:])) for name, own in whole}

    def _compressed(
        self, prompt: Sequence[int], encoded: Mapping[str, NDArray[Any]]
    ) -> Mapping[str, NDArray[Any]]:
        """Image tokens by the text after the image, where they depend on it."""
        graphs = self._graphs
        if graphs.question is None or graphs.compressor is None:
            return encoded
        place = list(prompt).index(self._image.token_id)
        ids = np.array(prompt[place + 1 :], np.int64)[None]
        (question,) = graphs.question.run(["question"], {"input_ids": ids})
        (features,) = graphs.compressor.run(["image_features"], {**encoded, "question": question})
        return {"image_features": features}

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
