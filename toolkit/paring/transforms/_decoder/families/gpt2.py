"""transformers' GPT2LMHeadModel: learned positions, layer norm, Conv1D weights stored [in, out]."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..layer import LayerParts
from ..parts import Embedding
from . import Site
from .phi3 import rows

TANH = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")  # GELU's tanh form under its several names


class Mlp(nn.Module):
    """second(activation(first(x)))."""

    def __init__(self, first: nn.Linear, activation: nn.Module, second: nn.Linear) -> None:
        super().__init__()
        self.first, self.activation, self.second = first, activation, second

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., C] -> [..., C]."""
        return self.second(self.activation(self.first(x)))


def locate(model: Any) -> Site | None:
    """The parts of a GPT-2 model."""
    if type(model).__name__ != "GPT2LMHeadModel":
        return None
    inner, config = model.transformer, model.config
    reasons = ("it has cross-attention layers, which need an encoder",) if config.add_cross_attention else ()
    return Site(
        embedding=Embedding(inner.wte, inner.wpe),
        rotary=None,
        layers=list(inner.h),
        split=split,
        norm=inner.ln_f,
        head=model.lm_head,
        max_positions=int(config.max_position_embeddings),
        reasons=reasons,
    )


def split(block: Any) -> LayerParts:
    """A block with its fused projection cut, its Conv1D layers as linear ones."""
    attention, config = block.attn, block.attn.config
    query, key, value = rows(linear(attention.c_attn), [attention.embed_dim] * 3)
    scale = attention.head_dim**-0.5 if attention.scale_attn_weights else 1.0
    if attention.scale_attn_by_inverse_layer_idx:
        scale /= attention.layer_idx + 1
    tanh = config.activation_function in TANH
    return LayerParts(
        norm1=block.ln_1,
        query=query,
        key=key,
        value=value,
        output=linear(attention.c_proj),
        heads=attention.num_heads,
        key_heads=attention.num_heads,
        scale=float(scale),
        norm2=block.ln_2,
        mlp=Mlp(
            linear(block.mlp.c_fc),
            nn.GELU(approximate="tanh") if tanh else block.mlp.act,
            linear(block.mlp.c_proj),
        ),
    )


def linear(conv: Any) -> nn.Linear:
    """A Conv1D ([in, out]) as a linear layer ([out, in])."""
    made = nn.Linear(conv.nx, conv.nf, device="meta")
    made.weight = nn.Parameter(conv.weight.detach().t().contiguous())
    made.bias = conv.bias
    return made
