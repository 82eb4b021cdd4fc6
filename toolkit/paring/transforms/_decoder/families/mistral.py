"""transformers' MistralForCausalLM: as Llama, perhaps with one window for all layers."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..layer import LayerParts
from . import Site
from ._llama_like import site
from ._llama_like import split as split_plain


def locate(model: nn.Module) -> Site | None:
    """The parts of a Mistral model."""
    return site(model, split) if type(model).__name__ == "MistralForCausalLM" else None


def split(layer: Any) -> LayerParts:
    """A layer with the model's window."""
    return split_plain(layer)._replace(window=layer.self_attn.config.sliding_window)
