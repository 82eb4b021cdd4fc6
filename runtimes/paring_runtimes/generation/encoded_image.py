"""An image that the encoder has seen already, for further questions about it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_runtimes.errors import InputError
from paring_runtimes.generation.image_facts import ImageFacts
from paring_runtimes.generation.image_input import prepare

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    from paring_runtimes.generation.image_facts import Reusable
    from paring_runtimes.generation.image_input import Images

    Seen = NDArray[np.float32] | Mapping[str, NDArray[Any]]
    Given: TypeAlias = "Images | EncodedImage | Sequence[EncodedImage]"


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """What `GenerativeSession.encode_image` makes; `generate` and the others take it as `image`.

    Attributes:
        reusable: "tokens": all that happens to an image before the language model is done. "encoder": the
            tower's part is; image tokens are made anew for each question.
        values: what the encoder gave, by name, [1, ...] each.
        files: the digests of the artifact's files, which it goes with.
    """

    reusable: Reusable
    values: Mapping[str, NDArray[Any]] = field(repr=False)
    files: Mapping[str, str] = field(repr=False)

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        return sum(value.nbytes for value in self.values.values())


def seen(images: Given, facts: ImageFacts, prompts: int, files: Mapping[str, str]) -> Seen:
    """Return pixels, or where images are encoded already, what the encoder gave of them.

    Args:
        images: as `image_input.prepare` takes them, or encoded: one for all prompts, or one a prompt.
        facts: of the model.
        prompts: how many there are.
        files: digests of the artifact's files.

    Raises:
        InputError: as of `prepare`; an image was encoded by another artifact, or only some are encoded.
    """
    if isinstance(images, EncodedImage):
        return _joined([images], files)
    if not isinstance(images, (str, os.PathLike, np.ndarray)):
        given = list(images)
        encoded = [image for image in given if isinstance(image, EncodedImage)]
        if encoded and len(encoded) != len(given):
            raise InputError(f"image: {len(encoded)} of {len(given)} are encoded; encode all of them or none")
        if encoded and len(encoded) != prompts:
            raise InputError(f"image: expected one, or one a prompt ({prompts}), given {len(encoded)}")
        if encoded:
            return _joined(encoded, files)
    return prepare(images, facts, prompts)  # type: ignore[arg-type]  # none of them is encoded


def _joined(images: Sequence[EncodedImage], files: Mapping[str, str]) -> Seen:
    if any(image.files != files for image in images):
        raise InputError("image: it was encoded by another artifact; encode_image of this session makes one")
    if len(images) == 1:
        return images[0].values
    return {name: np.concatenate([image.values[name] for image in images]) for name in images[0].values}
