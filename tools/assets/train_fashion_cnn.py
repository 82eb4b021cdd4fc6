"""Train the embedded convolutional network on Fashion-MNIST; resumable.

    python tools/assets/train_fashion_cnn.py CHECKPOINT.safetensors

Writes weights and model card into `toolkit/paring/assets/`.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import torch
from fashion_mnist import read_split
from safetensors.torch import save_file
from training import Schedule, accuracy, train

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "toolkit"))
from paring.assets.fashion_cnn import WEIGHTS, FashionCNN  # noqa: E402
from paring.assets.fashion_vit import MEAN, STD  # noqa: E402

SCHEDULE = Schedule(samples=420_000, batch_size=128, learning_rate=5e-3)
CARD = """---
license: apache-2.0
datasets: [fashion-mnist]
---
# fashion-cnn: the embedded convolutional network

For 28x28 grey images: two convolutions and two residual blocks with batch norm, ReLU (as modules and as
functions) and average pooling, {parameters} parameters. Trained by `tools/assets/train_fashion_cnn.py` on the
60,000 training images of Fashion-MNIST ({samples} images seen).

Accuracy on the 10,000 test images, PyTorch, fp32: **{accuracy:.4f}**.

SHA-256 of `fashion_cnn.safetensors`: {digest}

Fashion-MNIST is by Zalando SE, under the MIT licence (https://github.com/zalandoresearch/fashion-mnist).
"""


def preprocess(images: torch.Tensor) -> torch.Tensor:
    """[B, 28, 28] uint8 to [B, 1, 28, 28] float32."""
    return (images[:, None].float() / 255 - MEAN) / STD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = FashionCNN().to(memory_format=torch.channels_last)
    train(model, model, read_split("train"), preprocess, SCHEDULE, arguments.checkpoint)
    share = accuracy(model, read_split("t10k"), preprocess)
    tensors = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(tensors, WEIGHTS)
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    count = sum(p.numel() for p in model.parameters())
    card = CARD.format(
        parameters=f"{count:,}", samples=f"{SCHEDULE.samples:,}", accuracy=share, digest=digest
    )
    WEIGHTS.with_suffix(".md").write_text(card)
    print(card)


if __name__ == "__main__":
    main()
