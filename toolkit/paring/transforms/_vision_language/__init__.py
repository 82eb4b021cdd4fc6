"""A vision-language model of LLaVA's kind as explicit parts: a vision tower, a projector, a decoder.

`open_vision_language` takes transformers' LLaVA and LLaVA-NeXT (CLIP, SigLIP or DINOv2 tower, a language
model that `_decoder` knows) apart into a `VisionLanguage`. Its tower is a `Trunk` and its language model a
`Decoder`, so that every method of either works in it.
"""

from __future__ import annotations

from torch import nn

from .llava import open_llava, reasons_of
from .model import Encoded, Prefilled, VisionLanguage

__all__ = ["Encoded", "Prefilled", "VisionLanguage", "find", "open_vision_language", "why_not"]


def find(model: nn.Module) -> VisionLanguage | None:
    """The vision-language model inside `model` once it has been opened."""
    return next((module for module in model.modules() if isinstance(module, VisionLanguage)), None)


def why_not(model: nn.Module) -> list[str]:
    """Why `model` cannot be opened; empty when it can."""
    return [] if find(model) is not None else reasons_of(model)


def open_vision_language(model: nn.Module, image_size: tuple[int, int] | None = None) -> VisionLanguage:
    """The same function in parts. The model given is consumed: its weights are taken over.

    Args:
        model: transformers' own, or opened already.
        image_size: (height, width) of the images that LLaVA-NeXT will see, None is its largest canvas; or
            of another's prepared images where its tower is DINOv2, None is its config's.

    Raises:
        ValueError: it is no LLaVA, or has something that is not known.
    """
    opened = find(model)
    if opened is not None:
        return opened
    reasons = why_not(model)
    if reasons:
        raise ValueError("; ".join(reasons))
    return open_llava(model, image_size).train(model.training)
