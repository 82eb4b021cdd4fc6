"""The encoder of transformers' Whisper, arXiv 2212.04356: pre-norm blocks over time, no class token.

The convolutions in front stay. The decoder attends to however many tokens leave.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..block import BlockParts
from ..trunk import Trunk
from . import Site


class WhisperLayer(nn.Module):
    """A trunk behind the call that WhisperEncoder makes of each of its layers: here there is one."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        layer_head_mask: torch.Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[torch.Tensor]:
        """[B, T, C] -> ([B, T', C],). Whisper's encoder gives no attention mask."""
        if layer_head_mask is not None or output_attentions:
            raise ValueError("an encoder with reduced tokens takes no head_mask and gives no attentions")
        return (self.trunk(hidden_states),)


def locate(model: nn.Module) -> Site | None:
    """The layers of the first WhisperEncoder inside `model`."""
    for path, module in model.named_modules():
        encoder: Any = module
        if type(encoder).__name__ != "WhisperEncoder" or not type(encoder).__module__.startswith(
            "transformers."
        ):
            continue
        return Site(
            parent=encoder,
            name="layers",
            path=f"{path}.layers".lstrip("."),
            blocks=list(encoder.layers),
            split=_split,
            wrap=lambda trunk: nn.ModuleList([WhisperLayer(trunk)]),
            prefix=0,
            class_token=False,
            reasons=tuple(_reasons(encoder.config)),
            grid=(encoder.config.max_source_positions,),
        )
    return None


def _reasons(config: Any) -> list[str]:
    reasons = []
    if config.encoder_layerdrop > 0:
        reasons.append(
            f"encoder_layerdrop is {config.encoder_layerdrop}, which would drop the whole trunk: set 0"
        )
    if config.use_weighted_layer_sum or config.output_hidden_states:
        reasons.append("the hidden states of every layer are asked for, which have no common length")
    return reasons


class _Mlp(nn.Module):
    """A layer's feed-forward part without its residual."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.fc1, self.activation, self.fc2 = layer.fc1, layer.activation_fn, layer.fc2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation(self.fc1(x)))


def _split(layer: Any) -> BlockParts:
    inner = layer.self_attn
    return BlockParts(
        norm1=layer.self_attn_layer_norm,
        query=inner.q_proj,
        key=inner.k_proj,
        value=inner.v_proj,
        output=inner.out_proj,
        heads=inner.num_heads,
        scale=inner.scaling,
        norm2=layer.final_layer_norm,
        mlp=_Mlp(layer),
    )
