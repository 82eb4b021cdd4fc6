"""An image that the encoder has read, for several prompts about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.engines import NativeSession
from paring_runtimes.errors import InputError
from paring_runtimes.generation.image_facts import ImageFacts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paring_runtimes.generation.image_facts import Reusable


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """What `GenerativeSession.encode_image` returns; good for prompts of that session only.

    Attributes:
        values: by the name of the next graph's input: "image_features" [N, tokens, width] and, where the
            encoder chooses tokens that are never dropped, "keys" [N, count]; or what each question makes
            tokens of. N is 1, or one a prompt.
        encoder: the graph that made them.
        reusable: what is done with it: the image's "tokens", which serve every question, or the "encoder",
            behind which each question makes its own.
    """

    values: Mapping[str, NDArray[Any]]
    encoder: NativeSession
    reusable: Reusable

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return sum(value.nbytes for value in self.values.values())


def encode(pixels: NDArray[np.float32], encoder: NativeSession, facts: ImageFacts) -> EncodedImage:
    """Read pixels [N, 3, H, W] or [N, views, 3, H, W]."""
    names = list(facts.encoded)
    values = encoder.run(names, {"pixel_values": pixels})
    return EncodedImage(dict(zip(names, values, strict=True)), encoder, facts.reusable)


def joined(images: Any, encoder: NativeSession, prompts: int) -> EncodedImage | None:
    """One encoded image for all prompts, or a list of those, one a prompt; None where they are no such.

    Raises:
        InputError: too few or too many, another session's, or mixed with images that are not encoded.
    """
    if isinstance(images, EncodedImage):
        given = [images]
    elif isinstance(images, Sequence) and any(isinstance(one, EncodedImage) for one in images):
        given = list(images)
        if len(given) != prompts:
            raise InputError(f"image: expected one, or one a prompt ({prompts}), given {len(given)}")
    else:
        return None
    for one in given:
        if not isinstance(one, EncodedImage):
            raise InputError("image: expected all of them encoded, or none; encode_image encodes one")
        if one.encoder is not encoder:
            raise InputError("image: encoded by another session; encode it with this one")
    if len(given) == 1:
        return given[0]
    values = {name: np.concatenate([one.values[name] for one in given]) for name in given[0].values}
    return EncodedImage(values, encoder, given[0].reusable)
