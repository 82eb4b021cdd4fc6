"""The loop behind the chunked losses: logits come slice by slice, and turn into their gradient in place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.autograd.function import once_differentiable

from paring_runtimes.errors import InputError

Tensor = torch.Tensor


@dataclass(frozen=True)
class Chunks:
    """How much is held at once, and what a row counts.

    Attributes:
        rows: whose logits are held for all of the vocabulary.
        columns: logits of each of them that are made, and worked on while they are cached, at once.
        share: of a row's loss in the whole loss.
        sharpness: logits are multiplied by it, 1 / temperature.
    """

    rows: int
    columns: int
    share: float
    sharpness: float = 1.0

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1:
            raise InputError(f"chunks: expected 1 or more rows and columns, got {self.rows} x {self.columns}")

    def of_rows(self, count: int) -> Iterator[slice]:
        """Slices of `count` rows."""
        return (slice(at, min(at + self.rows, count)) for at in range(0, count, self.rows))

    def of_columns(self, count: int) -> list[slice]:
        """Slices of a vocabulary of `count`."""
        return [slice(at, min(at + self.columns, count)) for at in range(0, count, self.columns)]


@dataclass(frozen=True)
class Head:
    """What makes logits of rows [R, D]: weight [V, D] and bias [V]."""

    weight: Tensor
    bias: Tensor | None

    @property
    def dtype(self) -> torch.dtype:
        """Of logits and sums: fp32 at least."""
        return torch.promote_types(self.weight.dtype, torch.float32)

    def wide(self, part: Tensor) -> Tensor:
        """As it is multiplied: logits of half precision would be no better than their 8 or 11 bits."""
        return part.to(self.dtype)

    def logits(self, rows: Tensor, columns: slice, sharpness: float, out: Tensor) -> Tensor:
        """[R, C] of `columns`, into `out`."""
        torch.mm(rows, self.wide(self.weight[columns]).T, out=out)
        if self.bias is not None:  # a class may be ruled out by -inf, and a whole slice has no softmax then
            out.add_(self.bias[columns]).clamp_(min=torch.finfo(self.dtype).min)
        return out if sharpness == 1 else out.mul_(sharpness)


class Block:
    """Room for the logits of a block of rows: [R, V] as slices [R, C] that each lie in one piece."""

    def __init__(self, like: Head, rows: int, columns: list[slice]) -> None:
        self.columns = columns
        size = rows * (columns[-1].stop if columns else 0)
        self.room = torch.empty(size, dtype=like.dtype, device=like.weight.device)

    def slices(self, rows: int) -> list[Tensor]:
        """One [R, C] for each slice of columns."""
        return [self.room[rows * s.start : rows * s.stop].view(rows, -1) for s in self.columns]

    def first(self, shape: torch.Size) -> Tensor:
        """One [R, C] at its beginning."""
        return self.room[: shape.numel()].view(shape)


class Target(Protocol):
    """What the softmax of a block of rows should be. All slices of logits come first, in order."""

    def begin(self, rows: slice) -> None:
        """A block of rows begins."""

    def see(self, index: int, logits: Tensor) -> None:
        """Logits [R, C] of slice `index`."""

    def losses(self, lse: Tensor) -> Tensor:
        """[R], of the logits seen and the logarithm of their sum of exponentials."""

    def subtract(self, index: int, gradient: Tensor, slope: float) -> None:
        """From slope x softmax to slope x (softmax - target) in place, [R, C] of slice `index`."""


class ChunkedLoss(torch.autograd.Function):
    """Hidden [N, D], weight [V, D], bias [V] and a target -> the sum of the rows' losses, times `share`.

    The gradients are complete when the loss is, and wait for `backward`, which only scales them.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Target, chunks: Chunks
    ) -> Tensor:
        """Go over blocks of rows: all slices' logits, then all slices' gradients."""
        head, columns = Head(weight, bias), chunks.of_columns(len(weight))
        gradients = Gradients(hidden, head, columns, ctx.needs_input_grad)
        most = min(chunks.rows, len(hidden))
        block, desk = Block(head, most, columns), Block(head, most, columns[:1])
        total = torch.zeros((), dtype=head.dtype, device=hidden.device)
        for span in chunks.of_rows(len(hidden)):
            rows = head.wide(hidden[span])
            slices, sums = block.slices(len(rows)), []
            target.begin(span)
            for index, (part, own) in enumerate(zip(columns, slices, strict=True)):
                logits = head.logits(rows, part, chunks.sharpness, desk.first(own.shape))
                target.see(index, logits)
                top = logits.amax(1)
                torch.softmax(logits, 1, out=own)
                sums.append(top - own.amax(1).log_())  # the largest logit is top: lse = z - log softmax(z)
            lse = torch.logsumexp(torch.stack(sums), 0)
            total += target.losses(lse).sum()
            if gradients.wanted:
                slope = chunks.share * chunks.sharpness
                for index, (part_lse, own) in enumerate(zip(sums, slices, strict=True)):
                    gradient = own.mul_((part_lse - lse).exp_().mul_(slope)[:, None])
                    target.subtract(index, gradient, slope)
                    gradients.add(index, span, rows, gradient)
        ctx.gradients = gradients.finished()
        return total * chunks.share

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients in place and give them away: a copy would double the memory."""
        if ctx.gradients is None:
            raise RuntimeError(
                "a chunked loss keeps its gradients for one backward pass: compute the loss again, or add"
                " the losses up and call backward once"
            )
        found, ctx.gradients = ctx.gradients, None
        if not bool(grad_output == 1):
            for one in found:
                if one is not None:
                    one.mul_(grad_output)
        return (*found, None, None)


class Gradients:
    """Those of hidden [N, D], weight [V, D] and bias [V] that are wanted, summed up slice by slice."""

    def __init__(self, hidden: Tensor, head: Head, columns: list[slice], wanted: tuple[bool, ...]) -> None:
        self.head, self.columns, self.narrow = head, columns, hidden.dtype
        self.sums = [
            torch.zeros_like(one, dtype=head.dtype) if one is not None and is_wanted else None
            for one, is_wanted in zip((hidden, head.weight, head.bias), wanted, strict=False)
        ]
        self.wanted = any(one is not None for one in self.sums)

    def add(self, index: int, span: slice, rows: Tensor, gradient: Tensor) -> None:
        """What the logits' gradient [R, C] of slice `index` and the rows `span` gives each of them."""
        (of_hidden, of_weight, of_bias), part = self.sums, self.columns[index]
        if of_bias is not None:
            of_bias[part] += gradient.sum(0)
        if of_hidden is not None:
            of_hidden[span].addmm_(gradient, self.head.wide(self.head.weight[part]))
        if of_weight is not None:
            of_weight[part].addmm_(gradient.T, rows)

    def finished(self) -> list[Tensor | None]:
        """In the dtype of the inputs."""
        return [None if one is None else one.to(self.narrow) for one in self.sums]
