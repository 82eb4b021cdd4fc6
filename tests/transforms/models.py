"""Small vision transformers of every known family, with random weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

SMALL = {
    "hidden_size": 48,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "num_hidden_layers": 6,
    "image_size": 32,
    "patch_size": 4,
    "num_labels": 7,
}


class Logits(nn.Module):
    """A transformers model that answers with one tensor."""

    def __init__(self, model: nn.Module, field: str = "logits") -> None:
        super().__init__()
        self.model, self.field = model, field

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model(pixels)[self.field]


def timm_vit(**options: object) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    fixed = {"img_size": 32, "patch_size": 4, "embed_dim": 48, "depth": 6, "num_heads": 3}
    return VisionTransformer(**{**fixed, "num_classes": 7, **options})


def timm_distilled(depth: int = 6) -> nn.Module:
    from timm.models.deit import VisionTransformerDistilled

    return VisionTransformerDistilled(
        img_size=32, patch_size=4, embed_dim=48, depth=depth, num_heads=3, num_classes=7
    )


def sizes(depth: int) -> dict[str, int]:
    return {**SMALL, "num_hidden_layers": depth}


def transformers_vit(depth: int = 6) -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    return Logits(ViTForImageClassification(ViTConfig(**sizes(depth))))


def transformers_deit(depth: int = 6) -> nn.Module:
    from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher

    return Logits(DeiTForImageClassificationWithTeacher(DeiTConfig(**sizes(depth))))


def transformers_dinov2(depth: int = 6, **options: object) -> nn.Module:
    from transformers import Dinov2Config, Dinov2ForImageClassification

    return Logits(Dinov2ForImageClassification(Dinov2Config(**sizes(depth), layerscale_value=0.4, **options)))


def transformers_clip(depth: int = 6) -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return Logits(CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes(depth))), "image_embeds")


FAMILIES: dict[str, Callable[..., nn.Module]] = {
    "timm ViT": timm_vit,
    "timm ViT, layer scale, query-key norm, registers": lambda **options: timm_vit(
        init_values=0.3, qk_norm=True, reg_tokens=2, **options
    ),
    "timm DeiT distilled": timm_distilled,
    "transformers ViT": transformers_vit,
    "transformers DeiT": transformers_deit,
    "transformers DINOv2": transformers_dinov2,
    "transformers DINOv2, SwiGLU": lambda **options: transformers_dinov2(use_swiglu_ffn=True, **options),
    "transformers CLIP vision": transformers_clip,
}


def build(name: str, seed: int = 0, depth: int = 6) -> nn.Module:
    """A family's model in eval mode, with weights large enough that tokens differ."""
    torch.manual_seed(seed)
    model = FAMILIES[name](depth=depth).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return model
