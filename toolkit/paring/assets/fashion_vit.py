"""The embedded default model: a small timm ViT trained on Fashion-MNIST (see `fashion_vit.md`)."""

from __future__ import annotations

from pathlib import Path

from timm.models.vision_transformer import VisionTransformer

FOLDER = Path(__file__).parent
WEIGHTS = FOLDER / "fashion_vit.safetensors"
HELD_OUT = FOLDER / "fashion_test_2000.npz"
MEAN, STD = 0.2860, 0.3530
PADDING = 1


def fashion_vit(patch_drop_rate: float = 0.0) -> VisionTransformer:
    """The architecture with fresh weights: [B, 1, 30, 30] to [B, 10] logits.

    Args:
        patch_drop_rate: share of patches dropped at random while training, 0 to 1.
    """
    return VisionTransformer(
        img_size=30,
        patch_size=3,
        in_chans=1,
        num_classes=10,
        embed_dim=96,
        depth=8,
        num_heads=3,
        patch_drop_rate=patch_drop_rate,
    )
