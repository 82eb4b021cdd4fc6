"""timm's VisionTransformer: ViT, DeiT, CLIP and DINOv2 encoders with plain attention blocks."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn

from ..block import BlockParts, scaled, split_rows
from . import Site


def locate(model: nn.Module) -> Site | None:
    """The `blocks` of the first VisionTransformer inside `model`."""
    timm_vit = sys.modules.get("timm.models.vision_transformer")
    if timm_vit is None:  # then no part of the model can come from it
        return None
    for path, module in model.named_modules():
        if isinstance(module, timm_vit.VisionTransformer) and isinstance(module.blocks, nn.Sequential):
            return _site(module, f"{path}.blocks".lstrip("."), timm_vit)
    return None


def _site(vit: Any, path: str, timm_vit: Any) -> Site:
    reasons = []
    for index, block in enumerate(vit.blocks):
        kinds = f"{type(block).__name__} with {type(getattr(block, 'attn', None)).__name__}"
        if type(block) is not timm_vit.Block or type(block.attn) is not timm_vit.Attention:
            reasons.append(f"{path}.{index} is a {kinds}; pre-norm Block with Attention is needed")
            break
        if block.attn.gate is not None or not isinstance(block.attn.norm, nn.Identity):
            reasons.append(f"{path}.{index}.attn has a gate or an output norm, which is not known here")
            break
    return Site(
        parent=vit,
        name="blocks",
        path=path,
        blocks=list(vit.blocks),
        split=_split,
        wrap=lambda trunk: trunk,
        prefix=vit.num_prefix_tokens,
        class_token=vit.cls_token is not None,
        reasons=tuple(reasons),
        grid=tuple(vit.patch_embed.grid_size) if vit.patch_embed.grid_size else None,
        mean_follows=vit.global_pool == "avg" and isinstance(vit.norm, nn.Identity),
    )


def _split(block: Any) -> BlockParts:
    attention = block.attn
    query, key, value = split_rows(attention.qkv, 3)
    normed = not isinstance(attention.q_norm, nn.Identity)
    mlp, output = block.mlp, attention.proj
    if not isinstance(block.ls1, nn.Identity):
        output = scaled(output, block.ls1.gamma)
        mlp.fc2 = scaled(mlp.fc2, block.ls2.gamma)
    return BlockParts(
        norm1=block.norm1,
        query=query,
        key=key,
        value=value,
        output=output,
        heads=attention.num_heads,
        scale=attention.scale,
        norm2=block.norm2,
        mlp=mlp,
        query_norm=attention.q_norm if normed else None,
        key_norm=attention.k_norm if normed else None,
    )
