"""transformers' Audio Spectrogram Transformer (ASTModel, ASTForAudioClassification), arXiv 2104.01778.

Its patches lie frequency by frequency: token 2 + f * times + t, after a class and a distillation token.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from . import Site
from .transformers_vit import TransformersEncoder, split_vit


def locate(model: nn.Module) -> Site | None:
    """The encoder of the first ASTModel inside `model`."""
    for path, module in model.named_modules():
        encoder: Any = getattr(module, "encoder", None)
        if type(encoder).__name__ != "ASTEncoder" or not type(encoder).__module__.startswith("transformers."):
            continue
        return Site(
            parent=module,
            name="encoder",
            path=f"{path}.encoder".lstrip("."),
            blocks=list(encoder.layer),
            split=split_vit,
            wrap=TransformersEncoder,
            prefix=2,
            class_token=True,
            grid=_grid(encoder.config),
        )
    return None


def _grid(config: Any) -> tuple[int, int]:
    """(frequencies, times) of the overlapping patches."""
    frequencies = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    return frequencies, (config.max_length - config.patch_size) // config.time_stride + 1
