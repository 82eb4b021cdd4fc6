"""transformers' Qwen2ForCausalLM (Qwen 2 and 2.5): as Llama, with biases and a window in some layers."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..layer import LayerParts
from . import Site
from ._llama_like import site
from ._llama_like import split as split_plain


def locate(model: nn.Module) -> Site | None:
    """The parts of a Qwen2 model."""
    return site(model, split) if type(model).__name__ == "Qwen2ForCausalLM" else None


def split(layer: Any) -> LayerParts:
    """A layer with the window of its own type."""
    return split_plain(layer)._replace(window=layer.self_attn.sliding_window)
