"""What a chunked loss compares a softmax with: labels, or a teacher's softmax."""

from __future__ import annotations

import torch

from ._chunks import Block, Chunks, Head, Tensor


class Labels:
    """One class a row: labels [N]."""

    def __init__(self, labels: Tensor, chunks: Chunks, classes: int) -> None:
        self.labels, self.columns = labels, chunks.of_columns(classes)

    def begin(self, rows: slice) -> None:
        """A block of rows begins."""
        self.block = self.labels[rows, None]
        self.picked: list[Tensor] = []

    def see(self, index: int, logits: Tensor) -> None:
        """Take the labels' logits from those [R, C] of slice `index`."""
        place, inside = self._inside(index)
        self.picked.append(logits.gather(1, place).where(inside, 0).squeeze(1))

    def losses(self, lse: Tensor) -> Tensor:
        """-log softmax(z)_label of each row, [R]."""
        return lse - torch.stack(self.picked).sum(0)

    def subtract(self, index: int, gradient: Tensor, slope: float) -> None:
        """Take `slope` from `gradient` [R, C] where the labels are."""
        place, inside = self._inside(index)
        gradient.scatter_add_(1, place, inside.to(gradient.dtype).mul_(-slope))

    def _inside(self, index: int) -> tuple[Tensor, Tensor]:
        """Where in a slice each row's label is, [R, 1], and whether it is there at all."""
        part = self.columns[index]
        inside = (self.block >= part.start) & (self.block < part.stop)
        return (self.block - part.start) * inside, inside


class Teacher:
    """The softmax of a teacher's logits: hidden [N, E] through its head."""

    def __init__(self, hidden: Tensor, head: Head, chunks: Chunks) -> None:
        self.hidden, self.head, self.chunks = hidden, head, chunks
        self.columns = chunks.of_columns(len(head.weight))
        self.room = Block(head, min(chunks.rows, len(hidden)), self.columns)

    def begin(self, rows: slice) -> None:
        """Make all of the teacher's logits of a block of rows."""
        block = self.head.wide(self.hidden[rows])
        self.slices = self.room.slices(len(block))
        sums = []
        for part, out in zip(self.columns, self.slices, strict=True):
            self.head.logits(block, part, self.chunks.sharpness, out)
            sums.append(torch.logsumexp(out, 1))
        self.lse = torch.logsumexp(torch.stack(sums), 0)
        self.cross = torch.zeros_like(self.lse)

    def see(self, index: int, logits: Tensor) -> None:
        """Turn the teacher's logits of slice `index` into probabilities q; add up q (log q - z)."""
        own = self.slices[index].sub_(self.lse[:, None])
        apart = own - logits
        self.cross += apart.mul_(own.exp_()).sum(1)

    def losses(self, lse: Tensor) -> Tensor:
        """KL(q || softmax(z)) of each row, [R]."""
        return lse + self.cross

    def subtract(self, index: int, gradient: Tensor, slope: float) -> None:
        """Take `slope` x q from `gradient`, [R, C]."""
        gradient.sub_(self.slices[index], alpha=slope)
