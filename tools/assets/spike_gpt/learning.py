"""Training and measuring a model of characters within a given time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

WARM_UP = 0.03  # share of the training in which the rate rises
SETTLE = 3  # steps before a step is captured
SYNC = 20  # steps between two looks at the clock


@dataclass
class Course:
    """How a training went."""

    form: str
    steps: int = 0
    seconds: float = 0.0
    characters: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)


def rate(share: float, last: float) -> float:
    """The factor of the learning rate after a share of the training: a rise, then half a cosine to `last`."""
    falling = last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return min(share / WARM_UP, falling)


class Step:
    """One step of training, on a GPU as a CUDA graph: the kernels of all time steps are launched at once.

    Where it cannot be captured, the same operations run one by one; `form` tells which it is.
    """

    def __init__(
        self, model: nn.Module, loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        shape: tuple[int, int], device: torch.device, peak: float,
    ) -> None:  # fmt: skip
        self._model, self._loss, self.peak = model, loss, peak
        on_gpu = device.type == "cuda"
        self._rate = torch.zeros((), device=device)
        self._optimizer = torch.optim.Adam(
            model.parameters(), lr=self._rate if on_gpu else 0.0, betas=(0.9, 0.99), eps=4e-9,
            capturable=on_gpu,
        )  # fmt: skip
        self._ids = torch.zeros(shape, dtype=torch.int64, device=device)
        self.form, self._graph, self._value = "step by step", None, torch.zeros(())
        self._settled = 0
        self._on_gpu = on_gpu

    def __call__(self, ids: torch.Tensor, factor: float) -> torch.Tensor:
        """Learn from ids [B, T + 1]; returns the loss, which the next call overwrites."""
        self._ids.copy_(ids)
        if not self._on_gpu:
            for group in self._optimizer.param_groups:
                group["lr"] = self.peak * factor
            return self._once()
        self._rate.fill_(self.peak * factor)
        if self._graph is None and self._settled == SETTLE:
            self._capture()
        self._settled += 1
        if isinstance(self._graph, torch.cuda.CUDAGraph):
            self._graph.replay()
            return self._value
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            value = self._once()
        torch.cuda.current_stream().wait_stream(side)
        return value

    def _once(self) -> torch.Tensor:
        self._optimizer.zero_grad(set_to_none=True)
        logits, _ = self._model(self._ids[:, :-1])
        value = self._loss(logits, self._ids[:, 1:])
        value.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        return value.detach()

    def _capture(self) -> None:
        graph: Any = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        try:
            with torch.cuda.graph(graph):
                self._value = self._once()
        except Exception as error:  # what an operation says that cannot be captured is of every kind
            self._graph, self.form = False, f"step by step ({str(error).splitlines()[0][:80]})"
            torch.cuda.synchronize()
            return
        self._graph, self.form = graph, "CUDA graph"


def learn(
    step: Step, text: torch.Tensor, shape: tuple[int, int], seconds: float, last: float,
    most: int | None = None, say: Callable[[str], None] = print,
) -> Course:  # fmt: skip
    """Train for `seconds`, or for `most` steps where they take less.

    Args:
        step: what learns.
        text: uint8 [N], on the device of training.
        shape: (B, T + 1) of what a step reads, at random places.
        seconds: of the wall clock.
        last: the learning rate at the end, relative to its peak.
        most: steps.
        say: is told how it goes.
    """
    begin, course = monotonic(), Course(step.form)
    offsets = torch.arange(shape[1], device=text.device)
    draw = torch.Generator(text.device).manual_seed(0)
    share = 0.0
    while share < 1.0:
        starts = torch.randint(len(text) - shape[1], (shape[0], 1), generator=draw, device=text.device)
        value = step(text[starts + offsets].long(), rate(share, last))
        course.steps += 1
        if course.steps % SYNC == 1 or text.device.type == "cpu":
            shown = float(value)  # waits for the device
            if course.steps % (SYNC * 10) == 1:
                course.losses.append((course.steps, round(shown / math.log(2), 4)))
                bits, passed = course.losses[-1][1], monotonic() - begin
                say(f"{course.steps} steps, {passed:.0f} s, {bits} bits ({step.form})")
        share = max((monotonic() - begin) / seconds, course.steps / most if most else 0.0)
    float(value)
    course.form, course.seconds = step.form, monotonic() - begin
    course.characters = course.steps * shape[0] * (shape[1] - 1)
    return course


@torch.no_grad()
def bits_per_character(
    model: nn.Module, text: torch.Tensor, context: int, carried: bool, rows: int = 64
) -> float:
    """Cross-entropy of a text, uint8 [N], in bits a character.

    Args:
        model: is put into eval mode.
        text: cut into `rows` of equal length; what remains of it is left out.
        context: characters that are read at once.
        carried: the state goes on from one piece of a row to the next, else each begins afresh.
        rows: read side by side.
    """
    model.eval()
    length = (len(text) - 1) // rows
    ids = text[: rows * length].view(rows, length).long()
    following = text[1 : rows * length + 1].view(rows, length).long()
    total, state = 0.0, None
    for begin in range(0, length, context):
        logits, after = model(ids[:, begin : begin + context], state)
        wanted = following[:, begin : begin + context].reshape(-1)
        total += F.cross_entropy(logits.flatten(0, 1), wanted, reduction="sum").double().item()
        state = after if carried else None
    return total / (rows * length) / math.log(2)
