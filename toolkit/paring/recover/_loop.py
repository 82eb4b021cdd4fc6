"""The training loop: AdamW over batches that follow from (seed, step), with checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from paring_runtimes.errors import RecoveryError

from ._batches import torch_seed
from ._checkpoints import Checkpoints, Progress, State
from ._schedule import Span

Objective = Callable[..., dict[str, torch.Tensor]]  # the model and a batch's tensors -> parts of the loss
POINTS = 200  # of the loss, kept over the whole training


@dataclass(frozen=True)
class Told:
    """What a watcher is told after each step. `left_s` is an estimate, seconds."""

    step: int
    steps: int
    loss: float
    rate: float
    left_s: float


class Batched(Protocol):
    """Batches that follow from their seed and a step alone."""

    @property
    def seed(self) -> int:
        """Of order, augmentation and dropout."""

    @property
    def rank(self) -> int:
        """Of this process."""

    def __call__(self, step: int) -> tuple[torch.Tensor, ...]:
        """This process's part of batch `step`."""

    def prepare(self, step: int) -> None:
        """Make batch `step` ahead of its use."""


@dataclass
class Trainer:
    """What the stages of one training share.

    Attributes:
        accelerator: accelerate's: the device, or several.
        steps: of all stages.
        progress: how far it is; changed as it goes on.
        resumed: the tensors of the checkpoint that it goes on from, until they are used.
        trained_only: whether checkpoints leave out what is not trained, buffers too, which then must be
            the same from the first step of all stages.
    """

    accelerator: Any
    batches: Batched
    checkpoints: Checkpoints
    steps: int
    weight_decay: float = 0.05
    clip: float = 1.0
    watch: Callable[[Told], None] = lambda told: None
    progress: Progress = field(default_factory=Progress)
    resumed: State | None = None
    trained_only: bool = False

    def resume(self) -> int:
        """Take up the newest checkpoint, and return the steps that it has done.

        Raises:
            RecoveryError: it is of another training.
        """
        found = self.checkpoints.latest()
        if found is not None:
            self.resumed, self.progress = found
        return self.progress.step

    def train(self, model: nn.Module, objective: Objective, span: Span) -> None:
        """Train `model` in place through what is left of one stage.

        Raises:
            RecoveryError: the gradient is no longer finite, or a checkpoint does not fit the model.
        """
        model.train()
        # A model of an earlier stage bears a mark, for which it would be left where it is, unwrapped.
        model._is_accelerate_prepared = False  # type: ignore[assignment]
        wrapped = self.accelerator.prepare(model)
        optimizer = torch.optim.AdamW(_groups(model, self.weight_decay), lr=span.learning_rate)
        if self.resumed is not None:
            _restore(model, optimizer, self.resumed, self.trained_only)
            self.resumed = None
        started = saved = time.monotonic()
        first, before = self.progress.step, self.progress.seconds
        for step in range(first, span.end):
            losses = self._step(wrapped, optimizer, objective, step, span.rate(step))
            now = time.monotonic()
            self.progress.step, self.progress.seconds = step + 1, before + now - started
            left = (self.steps - step - 1) * (now - started) / (step + 1 - first)
            self.watch(Told(step + 1, self.steps, losses["loss"], losses["learning_rate"], left))
            if now - saved >= self.checkpoints.seconds or step + 1 == span.end:
                self._save(model, optimizer)
                saved = time.monotonic()
        self.accelerator.wait_for_everyone()
        model.eval()

    def _step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        step: int,
        rate: float,
    ) -> dict[str, float]:
        torch.manual_seed(torch_seed(self.batches.seed, step) + self.batches.rank)
        parts = objective(model, *(part.to(self.accelerator.device) for part in self.batches(step)))
        loss = torch.stack(list(parts.values())).sum()
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(model.parameters(), self.clip)
        optimizer.step()
        if step + 1 < self.steps:
            self.batches.prepare(step + 1)  # while a GPU is still at this step: what follows waits for it
        read = torch.stack([norm, loss, *parts.values()]).tolist()
        told = {**dict(zip(("norm", "loss", *parts), read, strict=True)), "learning_rate": rate}
        if not math.isfinite(told.pop("norm")):
            raise RecoveryError(
                f"step {step + 1}: the gradient is not finite (loss {told['loss']:g}); lower the"
                f" learning rate, which is {rate:g} here"
            )
        if step % max(1, self.steps // POINTS) == 0 or step + 1 == self.steps:
            self.progress.losses.append({"step": step + 1, **told})
        return told

    def _save(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if self.accelerator.is_main_process:
            self.checkpoints.save(_tensors(model, optimizer, self.trained_only), self.progress)


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and other vectors do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [one for one in trained if one.ndim > 1], "weight_decay": weight_decay},
        {"params": [one for one in trained if one.ndim <= 1], "weight_decay": 0.0},
    ]


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer, trained_only: bool) -> State:
    """Copies of the model's tensors as `model.NAME`, of the optimizer's as `optimizer.NAME.KEY`."""
    left_out = _untrained(model) if trained_only else set()
    found = {f"model.{name}": value for name, value in model.state_dict().items() if name not in left_out}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            found[f"optimizer.{name}.{key}"] = torch.as_tensor(value)
    return {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}


def _untrained(model: nn.Module) -> set[str]:
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return model.state_dict().keys() - trained


def _restore(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: State, trained_only: bool) -> None:
    own = {name.removeprefix("model."): v for name, v in tensors.items() if name.startswith("model.")}
    left_out = _untrained(model) if trained_only else set()
    try:
        whole = {name: value for name, value in model.state_dict().items() if name in left_out - own.keys()}
        model.load_state_dict({**whole, **own}, strict=True)
    except RuntimeError as error:
        raise RecoveryError(f"the checkpoint does not fit the model: {error}") from error
    for name, parameter in model.named_parameters():
        start = f"optimizer.{name}."
        state = {key.removeprefix(start): v for key, v in tensors.items() if key.startswith(start)}
        if state:  # AdamW keeps its count of steps on the CPU
            optimizer.state[parameter] = {
                key: v if key == "step" else v.to(parameter.device) for key, v in state.items()
            }
