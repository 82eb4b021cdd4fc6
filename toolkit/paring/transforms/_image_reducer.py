"""What every method that drops image tokens inside a language model has in common.

A prompt is text, image tokens at columns [start, stop), text. Prompts of a batch have one length and the
image at one place, so no padding on the left. Only image tokens go; everything else stays, and every
survivor keeps its position.

In a language model alone the config says where the image is; in a vision-language model the prompt does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import nn

from . import _vision_language
from ._decoder import Decoder, Reducer, Seen, find, why_not
from ._decoder.families import locate
from ._must_drop.cache import sequence_places

IMAGE = {  # metadata of a Config's `image`
    "help": "(start, stop) of the image tokens in every prompt; leave it out where the model knows",
    "unit": "tokens",
    "minimum": 0,
}


class ImageReducer(Reducer):
    """Chooses `keep` of the image tokens that come.

    Args:
        start, stop: the columns of the image tokens as they come to this reducer. Where `Tokens.image`
            says the start, only their number counts.
        keep: how many stay.
    """

    def __init__(self, start: int, stop: int, keep: int) -> None:
        super().__init__()
        self.start, self.stop, self.keep = start, stop, keep

    @abstractmethod
    def choose(self, seen: Seen) -> torch.Tensor:
        """[B, keep] int64: places within the image, ascending."""

    def count(self, tokens: int) -> int:
        """Tokens that leave when `tokens` come.

        Raises:
            ValueError: there is no text after the image.
        """
        if tokens <= self.stop:
            raise ValueError(
                f"{type(self).__name__} got {tokens} tokens, with the image at {self.start} to {self.stop}:"
                " text must follow the image"
            )
        return tokens - (self.stop - self.start) + self.keep

    def span(self, seen: Seen) -> tuple[int, int]:
        """(start, stop) of the image tokens that came."""
        given = seen.tokens.image
        start = self.start if given is None else given.start
        return start, start + self.stop - self.start

    def forward(self, seen: Seen) -> torch.Tensor:
        """[B, count(S)] int64: the columns that stay, ascending."""
        length = seen.tokens.positions.shape[1]
        if seen.tokens.image is None:
            self.count(length)
        return sequence_places(self.choose(seen), self.span(seen), length)


def image_of(model: nn.Module, image: tuple[int, ...]) -> tuple[int, ...]:
    """(start, stop) of a prompt's image; in a vision-language model (0, tokens), its start being open."""
    found = _vision_language.find(model)
    return image if found is None or image != (0, 0) else (0, found.image_tokens)


def rejoined(model: nn.Module, decoder: Decoder) -> nn.Module:
    """What a method hands back: the vision-language model around the decoder, where there is one."""
    found = _vision_language.find(model)
    return decoder if found is None else found


def image_reasons(
    model: nn.Module, image: tuple[int, ...], layers: Sequence[int], keep: Sequence[int]
) -> list[str]:
    """Why `keep` image tokens cannot be what is left after each of the `layers`, counted from 0."""
    reasons = why_not(model)
    seeing = _vision_language.find(model)
    if seeing is not None and tuple(image) != (0, seeing.image_tokens):
        reasons.append(
            "the prompt of a vision-language model says where its image is: leave the field image out"
        )
    elif len(image) != 2 or not 0 <= image[0] < image[1]:
        reasons.append(f"image {tuple(image)} must be (start, stop), with 0 <= start < stop")
    if reasons:
        return reasons
    decoder, site = find(model), locate(model)
    depth = len(decoder.layers) if decoder is not None else len(site.layers) if site else 0
    if sorted(set(layers)) != list(layers) or not all(0 <= layer < depth for layer in layers):
        reasons.append(f"layers {tuple(layers)} must ascend from 0 to {depth - 1}, the model's last")
    left = [image[1] - image[0], *keep]
    if len(keep) != len(layers) or left != sorted(left, reverse=True) or left[-1] < 1:
        reasons.append(
            f"{tuple(keep)} image tokens left after layers {tuple(layers)}, of {left[0]}: one number a layer"
            " is needed, none greater than the one before, none less than 1"
        )
    if decoder is not None and reducing_layers(decoder):
        reasons.append(
            f"layers {reducing_layers(decoder)} drop tokens already: the image's columns are others then"
        )
    return reasons


def has_rotary(model: nn.Module) -> bool:
    """Whether a model that `image_reasons` has nothing against rotates by its positions."""
    decoder, site = find(model), locate(model)
    return (decoder.rotary if decoder is not None else site.rotary if site else None) is not None


def reducing_layers(decoder: Decoder) -> list[int]:
    """The layers after which tokens are dropped, counted from 0."""
    return [index for index, layer in enumerate(decoder.opened()) if len(layer.reducers)]
