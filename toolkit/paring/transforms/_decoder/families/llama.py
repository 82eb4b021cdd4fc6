"""transformers' LlamaForCausalLM (Llama 1 to 3, SmolLM, TinyLlama)."""

from __future__ import annotations

from torch import nn

from . import Site
from ._llama_like import site, split


def locate(model: nn.Module) -> Site | None:
    """The parts of a Llama model."""
    return site(model, split) if type(model).__name__ == "LlamaForCausalLM" else None
