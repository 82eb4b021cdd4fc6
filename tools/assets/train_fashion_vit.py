"""Train the embedded default model, a small timm ViT, on Fashion-MNIST; resumable.

    python tools/assets/train_fashion_vit.py CHECKPOINT.safetensors

Writes weights, model card and a held-out slice of the test split into `toolkit/paring/assets/`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from fashion_mnist import read_split
from safetensors.torch import save_file
from training import Schedule, accuracy, train

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "toolkit"))
from paring.assets.fashion_vit import MEAN, PADDING, STD, fashion_vit  # noqa: E402

ASSETS = ROOT / "toolkit" / "paring" / "assets"
SCHEDULE = Schedule(samples=540_000, batch_size=128, learning_rate=1.5e-3)
HELD_OUT = 2_000


def preprocess(images: torch.Tensor) -> torch.Tensor:
    """[B, 28, 28] uint8 to [B, 1, 30, 30] float32."""
    padded = torch.nn.functional.pad(images[:, None].float() / 255, (PADDING,) * 4)
    return (padded - MEAN) / STD


CARD = """---
license: apache-2.0
datasets: [fashion-mnist]
---
# fashion-vit: the embedded default model

A ViT for 28x28 grey images: patch 3 on the image padded to 30 px (100 patches and a class token),
width 96, depth 8, 3 heads, {parameters} parameters. Trained by `tools/assets/train_fashion_vit.py` on the
60,000 training images of Fashion-MNIST ({samples} images seen, half of the patches dropped at random).

Accuracy on the 10,000 test images, PyTorch, fp32: **{accuracy:.4f}**.

`fashion_test_2000.npz` holds the first 2,000 test images and labels. Fashion-MNIST is by Zalando SE,
under the MIT licence (https://github.com/zalandoresearch/fashion-mnist).
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = fashion_vit(patch_drop_rate=0.5)
    train(model, model, read_split("train"), preprocess, SCHEDULE, arguments.checkpoint)
    test = read_split("t10k")
    share = accuracy(model, test, preprocess)
    save_file(model.state_dict(), ASSETS / "fashion_vit.safetensors")
    np.savez_compressed(
        ASSETS / "fashion_test_2000.npz", images=test[0][:HELD_OUT], labels=test[1][:HELD_OUT]
    )
    count = sum(p.numel() for p in model.parameters())
    card = CARD.format(parameters=f"{count:,}", samples=f"{SCHEDULE.samples:,}", accuracy=share)
    (ASSETS / "fashion_vit.md").write_text(card)
    print(card)


if __name__ == "__main__":
    main()
