"""transformers' Phi3ForCausalLM: fused projections, a partial rotary width, perhaps LongRoPE."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..layer import LayerParts
from ..parts import GatedMlp, rms_norm
from . import Site
from ._llama_like import site


def locate(model: nn.Module) -> Site | None:
    """The parts of a Phi-3 model."""
    return site(model, split) if type(model).__name__ == "Phi3ForCausalLM" else None


def split(layer: Any) -> LayerParts:
    """A layer with its fused projections cut into rows."""
    attention, mlp = layer.self_attn, layer.mlp
    config, width = attention.config, attention.head_dim
    heads, key_heads = config.num_attention_heads, config.num_key_value_heads
    query, key, value = rows(attention.qkv_proj, [heads * width, key_heads * width, key_heads * width])
    gate, up = rows(mlp.gate_up_proj, [config.intermediate_size] * 2)
    return LayerParts(
        norm1=rms_norm(layer.input_layernorm),
        query=query,
        key=key,
        value=value,
        output=attention.o_proj,
        heads=heads,
        key_heads=key_heads,
        scale=float(attention.scaling),
        norm2=rms_norm(layer.post_attention_layernorm),
        mlp=GatedMlp(gate, up, mlp.down_proj, mlp.activation_fn),
        window=config.sliding_window,
    )


def rows(linear: nn.Linear, sizes: list[int]) -> list[nn.Linear]:
    """A fused projection as linear layers over its rows."""
    biases = [None] * len(sizes) if linear.bias is None else list(linear.bias.detach().split(sizes))
    return [_linear(w, b) for w, b in zip(linear.weight.detach().split(sizes), biases, strict=True)]


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.clone())
    if bias is not None:
        made.bias = nn.Parameter(bias.clone())
    return made
