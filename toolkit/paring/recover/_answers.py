"""A vision-language model that answers questions, as it is trained and judged.

L = w_logits T^2 KL(softmax(t / T) || softmax(s / T)) + w_labels CE(s, answer), mean over the answers' tokens,
with the original's logits t and the changed model's s, neither of them ever whole (`chunked_loss`). The
answer is given, so that every token is judged behind the right ones before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..recipe._recover import Loss
from ..transforms._decoder import Growing, Tokens
from ..transforms._vision_language import VisionLanguage
from ._questions import QuestionBatch, Rows
from .chunked_loss import chunked_cross_entropy, chunked_divergence

BATCH = 8  # questions at once where nothing is trained


class Answering(nn.Module):
    """Questions on images to the states in front of each of their answers' tokens.

    Args:
        model: whose language model drops no image tokens.
    """

    def __init__(self, model: VisionLanguage) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        pixels: torch.Tensor,
        before: torch.Tensor,
        after: torch.Tensor,
        lengths: torch.Tensor,
        answered: torch.Tensor,
    ) -> torch.Tensor:
        """As `QuestionBatch` -> [answers' tokens, C], behind the final norm."""
        model = self.model
        image = model.see(pixels, after, lengths).features  # padding comes behind all that is looked at
        x = torch.cat([model.embed(before), image, model.embed(after)], 1)
        positions = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
        valid = torch.ones_like(positions, dtype=torch.bool)
        found = model.decoder.run(Tokens(x, positions, valid), Growing((), valid), reduce=False).tokens.x
        ahead = found[:, before.shape[1] + image.shape[1] - 1 : -1]  # [B, T, C]
        states: torch.Tensor = model.decoder.norm(ahead[answered])
        return states

    @property
    def head(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Weight [V, C] and bias [V] of what makes logits of the states."""
        own = self.model.decoder.head
        return own.weight, own.bias


@dataclass(frozen=True, eq=False)
class AnswerLoss:
    """The parts of the loss, already weighted, by name."""

    original: Answering
    plain: Answering  # the changed model itself, where several devices wrap it
    weights: Loss

    def __call__(self, model: nn.Module, *batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """A `QuestionBatch`'s tensors -> scalars."""
        told, weights = QuestionBatch(*batch), self.weights
        states = model(*told)
        weight, bias = self.plain.head
        parts: dict[str, torch.Tensor] = {}
        if weights.logits:
            with torch.no_grad():
                target = self.original(*told)
            theirs, their_bias = self.original.head
            parts["logits"] = weights.logits * chunked_divergence(
                states, weight, target, theirs, bias, their_bias, temperature=weights.temperature
            )
        if weights.labels:
            labels = told.after[told.answered]
            parts["labels"] = weights.labels * chunked_cross_entropy(states, weight, labels, bias)
        return parts


@dataclass(frozen=True, eq=False)
class Judged:
    """Answers to held-out questions: which are right [N] bool, and the mean loss of a token, nats."""

    right: np.ndarray
    loss: float


@torch.inference_mode()
def judged(model: Answering, rows: Rows, device: torch.device, progress: Callable[[int], None]) -> Judged:
    """Judge all questions. `model` is on `device` afterwards.

    An answer is right when each of its tokens, and the end, is the likeliest behind those before: that is
    what the model says when it says what is likeliest.
    """
    model.to(device).eval()
    right, total, tokens = list[bool](), 0.0, 0
    for start in range(0, len(rows), BATCH):
        batch = rows.batch(range(start, min(start + BATCH, len(rows))))
        batch = QuestionBatch(*(part.to(device) for part in batch))
        states, labels = model(*batch), batch.after[batch.answered]
        weight, bias = model.head
        logits = nn.functional.linear(states, weight, bias)
        total += float(nn.functional.cross_entropy(logits.float(), labels, reduction="sum"))
        tokens += len(labels)
        wrong = torch.zeros_like(batch.answered)
        wrong[batch.answered] = logits.argmax(-1) != labels
        right += (~wrong.any(1)).tolist()
        progress(len(right))
    return Judged(np.array(right, bool), total / tokens)
