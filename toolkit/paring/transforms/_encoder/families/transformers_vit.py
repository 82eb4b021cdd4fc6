"""transformers' ViT, DeiT, DINOv2 and CLIP vision encoders."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from ..block import BlockParts, scaled
from ..trunk import Trunk
from . import Site

PREFIX = {"ViTEncoder": 1, "DeiTEncoder": 2, "Dinov2Encoder": 1, "CLIPEncoder": 1}


class TransformersEncoder(nn.Module):
    """A trunk behind the call that transformers' models make of their encoder."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(
        self,
        hidden_states: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **options: Any,
    ) -> Any:
        """[B, N, C] -> BaseModelOutput with last_hidden_state [B, N', C]."""
        from transformers.modeling_outputs import BaseModelOutput

        for name in ("head_mask", "attention_mask", "output_hidden_states", "output_attentions"):
            if _given(options.get(name)):
                raise ValueError(f"an encoder with reduced tokens does not take {name}")
        tokens = hidden_states if inputs_embeds is None else inputs_embeds
        return BaseModelOutput(last_hidden_state=self.trunk(tokens))


def locate(model: nn.Module) -> Site | None:
    """The encoder of the first known vision model inside `model`."""
    for path, module in model.named_modules():
        encoder: Any = getattr(module, "encoder", None)
        kind = type(encoder).__name__
        if kind not in PREFIX or not type(encoder).__module__.startswith("transformers."):
            continue
        if kind == "CLIPEncoder" and type(module).__name__ != "CLIPVisionTransformer":
            continue
        layers = list(encoder.layers if kind == "CLIPEncoder" else encoder.layer)
        return Site(
            parent=module,
            name="encoder",
            path=f"{path}.encoder".lstrip("."),
            blocks=layers,
            split={"CLIPEncoder": split_clip, "Dinov2Encoder": split_dinov2}.get(kind, split_vit),
            wrap=TransformersEncoder,
            prefix=PREFIX[kind],
            class_token=True,
            grid=_grid(encoder.config),
        )
    return None


def _grid(config: Any) -> tuple[int, ...]:
    sides = [
        (value, value) if isinstance(value, int) else value
        for value in (config.image_size, config.patch_size)
    ]
    return tuple(side // patch for side, patch in zip(*sides, strict=True))


def _given(option: Any) -> bool:
    if isinstance(option, (list, tuple)):
        return any(item is not None for item in option)
    return option is not None and option is not False


class _ViTMlp(nn.Module):
    """ViTIntermediate and ViTOutput without the residual that ViTOutput adds."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.fc1, self.activation = layer.intermediate.dense, layer.intermediate.intermediate_act_fn
        self.fc2 = layer.output.dense

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation(self.fc1(x)))


def split_vit(layer: Any) -> BlockParts:
    """A ViTLayer, or one of the layers that transformers copies from it."""
    inner = layer.attention.attention
    return BlockParts(
        norm1=layer.layernorm_before,
        query=inner.query,
        key=inner.key,
        value=inner.value,
        output=layer.attention.output.dense,
        heads=inner.num_attention_heads,
        scale=inner.scaling,
        norm2=layer.layernorm_after,
        mlp=_ViTMlp(layer),
    )


def split_dinov2(layer: Any) -> BlockParts:
    """A Dinov2Layer, its layer scale in the last linear layers of copies."""
    inner, mlp = layer.attention.attention, copy.copy(layer.mlp)
    mlp._modules = dict(layer.mlp._modules)  # the layer itself goes on computing what it did
    last = "weights_out" if hasattr(mlp, "weights_out") else "fc2"
    setattr(mlp, last, scaled(getattr(mlp, last), layer.layer_scale2.lambda1))
    return BlockParts(
        norm1=layer.norm1,
        query=inner.query,
        key=inner.key,
        value=inner.value,
        output=scaled(layer.attention.output.dense, layer.layer_scale1.lambda1),
        heads=inner.num_attention_heads,
        scale=inner.scaling,
        norm2=layer.norm2,
        mlp=mlp,
    )


def split_clip(layer: Any) -> BlockParts:
    """A layer of CLIP's vision model, or of SigLIP's, which has the same names."""
    inner = layer.self_attn
    return BlockParts(
        norm1=layer.layer_norm1,
        query=inner.q_proj,
        key=inner.k_proj,
        value=inner.v_proj,
        output=inner.out_proj,
        heads=inner.num_heads,
        scale=inner.scale,
        norm2=layer.layer_norm2,
        mlp=layer.mlp,
    )
