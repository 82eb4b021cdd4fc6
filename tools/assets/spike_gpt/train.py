"""Train a small SpikeGPT, and an LSTM with as many parameters, on the same text, and compare them.

    python tools/assets/spike_gpt/train.py TEXT OUT [--minutes 3] [--device cuda] [--batch 64] [--context 256]
        [--layers 4] [--width 256] [--rates 1.5e-3 2e-3] [--evaluate N] [--only spike_gpt] [--steps N]

TEXT is what `text.py` wrote. SpikeGPT has 65 % of the time; the LSTM then makes as many steps with batches of
the same places, within what is left. With `--only` one model has all of it; `--steps` is the most that either
makes. Both start each piece of text from an empty state. OUT gets `spike_gpt.safetensors` and
`lstm.safetensors`, fp16, and beside each a `.json`: bits per character of the held-out text (or of its first
`--evaluate` characters), with weights as they are saved. Arithmetic is fp32, on a GPU with TF32
multiplication while training.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from learning import Step, bits_per_character, learn
from lstm import of_size
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from paring.transforms._spike_gpt import Config, SpikeGPT

VOCABULARY = 256  # bytes
SHARE = 0.65  # of the time, SpikeGPT's
LAST = 1 / 60  # learning rate at the end, relative; the authors go from 6e-4 to 1e-5
MAGNITUDE = 1e-4  # of the gradient that draws the largest logit to 0, from the authors' loss


def entropy(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of logits [B, T, V], in nats."""
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten())


def drawn(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """`entropy`, with the gradient of the authors' loss on each largest logit, and without its value."""
    extra = 0.5 * MAGNITUDE * logits.amax(-1).square().mean()
    return entropy(logits, wanted) + extra - extra.detach()


def main() -> None:
    told = arguments()
    device = torch.device(told.device)
    train, held = (
        torch.frombuffer(bytearray(part), dtype=torch.uint8).to(device)
        for part in told.text.read_bytes().split(b"\0")
    )
    told.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    spiking = SpikeGPT(Config(VOCABULARY, told.width, told.layers))
    recurrent = of_size(sum(one.numel() for one in spiking.parameters()), VOCABULARY, told.width)
    held = held[: told.evaluate]
    about = {
        "device": named(device),
        "torch": torch.__version__,
        "batch": told.batch,
        "context": told.context,
        "train_bytes": len(train),
        "held_out_bytes": len(held),
    }
    whole, most = told.minutes * 60, told.steps
    for name, model, loss, peak, share in (
        ("spike_gpt", spiking, drawn, told.rates[0], SHARE),
        ("lstm", recurrent, entropy, told.rates[1], 1 - SHARE),
    ):
        if told.only not in (None, name):
            continue
        seconds = whole if told.only else whole * share
        found = one_model(name, model.to(device), loss, peak, seconds, (train, held), told, most)
        most = most or found["steps"]
        text = json.dumps({**about, **found}, indent=1) + "\n"
        (told.out / f"{name}.json").write_text(text, encoding="utf-8")
        print(name, {key: value for key, value in found.items() if key != "losses"}, flush=True)


def one_model(
    name: str, model: nn.Module, loss: Any, peak: float, seconds: float,
    texts: tuple[torch.Tensor, torch.Tensor], told: argparse.Namespace, most: int | None,
) -> dict[str, Any]:  # fmt: skip
    """Train one model, save it, and measure what was saved."""
    begin, shape, device = monotonic(), (told.batch, told.context + 1), texts[0].device
    torch.set_float32_matmul_precision("high")
    model.train()
    course = learn(Step(model, loss, shape, device, peak), texts[0], shape, seconds, LAST, most)
    saved = {key: value.detach().half().cpu().contiguous() for key, value in model.state_dict().items()}
    save_file(saved, told.out / f"{name}.safetensors")
    model.load_state_dict(saved)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    found = {
        key: round(bits_per_character(model, texts[1], told.context, carried), 4)
        for key, carried in (("bits_per_character", True), ("bits_per_character_afresh", False))
    }
    torch.backends.cudnn.allow_tf32 = True
    count = sum(one.numel() for one in model.parameters())
    return {**found, "parameters": count, "rate": peak, "all_seconds": monotonic() - begin, **asdict(course)}


def named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("text", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--rates", type=float, nargs=2, default=(1.5e-3, 2e-3), help="peaks, of each model")
    parser.add_argument("--evaluate", type=int, help="characters of the held-out text; default: all")
    parser.add_argument("--only", choices=("spike_gpt", "lstm"))
    parser.add_argument("--steps", type=int, help="most steps of training")
    return parser.parse_args()


if __name__ == "__main__":
    main()
