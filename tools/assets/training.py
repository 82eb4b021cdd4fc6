"""A resumable supervised training loop: AdamW, linear warm-up, cosine decay, safetensors checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fashion_mnist import augment
from safetensors.torch import load_file, save_file
from torch import nn

Preprocess = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train. `samples` counts images seen, over all epochs."""

    samples: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.05
    warmup_share: float = 0.08
    label_smoothing: float = 0.05
    seed: int = 0
    checkpoint_every_s: float = 90.0

    @property
    def steps(self) -> int:
        return self.samples // self.batch_size

    def rate(self, step: int) -> float:
        """Learning rate at `step`."""
        warmup = max(1, int(self.steps * self.warmup_share))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        share = (step - warmup) / max(1, self.steps - warmup)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def train(
    model: nn.Module,
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    data: tuple[np.ndarray, np.ndarray],
    preprocess: Preprocess,
    schedule: Schedule,
    checkpoint: Path,
) -> None:
    """Train `model` in place; killed at any moment, the same call goes on from the last checkpoint."""
    images, labels = (torch.from_numpy(part.copy()) for part in data)
    labels = labels.long()
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=schedule.learning_rate,
        weight_decay=schedule.weight_decay,
    )
    first = _resume(model, optimizer, checkpoint)
    model.train()
    started = saved = time.monotonic()
    for step in range(first, schedule.steps):
        generator = torch.Generator().manual_seed(schedule.seed * 1_000_003 + step)
        torch.manual_seed(schedule.seed * 7_000_003 + step)  # dropout masks, after a resume too
        chosen = _batch_indices(step, len(images), schedule)
        inputs = preprocess(augment(images[chosen], generator))
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        loss = nn.functional.cross_entropy(
            logits_of(inputs), labels[chosen], label_smoothing=schedule.label_smoothing
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 0:
            done = step + 1 - first
            left = (schedule.steps - step - 1) * (time.monotonic() - started) / done
            print(f"step {step}/{schedule.steps} loss {loss.item():.4f} eta {left:.0f} s", flush=True)
        if time.monotonic() - saved > schedule.checkpoint_every_s:
            _save(model, optimizer, step + 1, checkpoint)
            saved = time.monotonic()
    _save(model, optimizer, schedule.steps, checkpoint)
    model.eval()


def _batch_indices(step: int, count: int, schedule: Schedule) -> torch.Tensor:
    """Indices of batch `step`: each epoch is one shuffle by its own seed."""
    per_epoch = count // schedule.batch_size
    epoch, at = divmod(step, per_epoch)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(schedule.seed + epoch))
    return order[at * schedule.batch_size : (at + 1) * schedule.batch_size]


def _save(model: nn.Module, optimizer: torch.optim.Optimizer, step: int, path: Path) -> None:
    tensors = {f"model.{k}": v.contiguous() for k, v in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer.{index}.{key}"] = torch.as_tensor(value).contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"progress": json.dumps({"step": step})})
    partial.replace(path)


def _resume(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> int:
    if not path.exists():
        return 0
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        step: int = json.loads(file.metadata()["progress"])["step"]
    tensors = load_file(path)
    model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    print(f"resumed at step {step}", flush=True)
    return step


@torch.inference_mode()
def accuracy(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    data: tuple[np.ndarray, np.ndarray],
    preprocess: Preprocess,
    batch_size: int = 100,
) -> float:
    """Share of images whose largest logit is at the label."""
    images, labels = (torch.from_numpy(part.copy()) for part in data)
    right = 0
    for start in range(0, len(images), batch_size):
        predicted = logits_of(preprocess(images[start : start + batch_size])).argmax(1)
        right += int((predicted == labels[start : start + batch_size]).sum())
    return right / len(images)
