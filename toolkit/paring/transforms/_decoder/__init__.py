"""A causal language model as explicit blocks with its key-value cache as inputs and outputs.

`open_decoder` takes a transformers model (Llama, Qwen2, Mistral, Phi-3, GPT-2) apart into a `Decoder`, a
function of its inputs only. Where tokens are dropped, a `Reducer` stands after a layer: see `reducing`.
"""

from __future__ import annotations

from torch import nn

from .decoder import Decoder
from .families import locate
from .layer import Layer, LayerParts
from .memory import Growing, InPlace, Memory, write_rows
from .reducing import Reducer, Seen, attention_rows, last_rows, raw_scores
from .tokens import Tokens

__all__ = [
    "Decoder",
    "Growing",
    "InPlace",
    "Layer",
    "LayerParts",
    "Memory",
    "Reducer",
    "Seen",
    "Tokens",
    "attention_rows",
    "find",
    "last_rows",
    "open_decoder",
    "raw_scores",
    "why_not",
    "write_rows",
]

KNOWN = (
    "transformers LlamaForCausalLM, Qwen2ForCausalLM, MistralForCausalLM, Phi3ForCausalLM, GPT2LMHeadModel"
)


def find(model: nn.Module) -> Decoder | None:
    """The decoder inside `model` once it has been opened."""
    return next((module for module in model.modules() if isinstance(module, Decoder)), None)


def why_not(model: nn.Module) -> list[str]:
    """Why `model` cannot be opened as a decoder; empty when it can."""
    if find(model) is not None:
        return []
    site = locate(model)
    if site is None:
        return [f"no causal language model found in {type(model).__name__}; known: {KNOWN}"]
    return list(site.reasons)


def open_decoder(model: nn.Module) -> Decoder:
    """The same function as a `Decoder`. The model given is consumed: its weights are taken over.

    Raises:
        ValueError: no family knows the model, or it has something that a static graph cannot hold.
    """
    opened = find(model)
    if opened is not None:
        return opened
    reasons = why_not(model)
    site = locate(model)
    if reasons or site is None:
        raise ValueError("; ".join(reasons))
    return Decoder(site).train(model.training)
