"""Questions on images as a vision-language model reads them in training: token ids, padded on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from paring_runtimes.errors import ArtifactError, InputError, RecoveryError
from paring_runtimes.generation.image_cache import check_prompt
from paring_runtimes.generation.image_facts import ImageFacts
from paring_runtimes.generation.image_input import prepare
from paring_runtimes.generation.tokenizer import TextTokenizer

from ..answering import Asking
from ..answering.asking import behind
from ..data import Question
from ._batches import Order


class QuestionBatch(NamedTuple):
    """Questions of one step.

    Attributes:
        pixels: [B, 3, H, W] or [B, views, 3, H, W], prepared.
        before: [B, P] int64, ids of the text before the image.
        after: [B, T] int64, ids of the text after it, the answer and the end token; then padding.
        lengths: [B] int64, how many of `after` are the prompt's.
        answered: [B, T] bool, the answer and the end token.
    """

    pixels: torch.Tensor
    before: torch.Tensor
    after: torch.Tensor
    lengths: torch.Tensor
    answered: torch.Tensor


@dataclass(frozen=True)
class Row:
    """A question: its image, the ids between the image and the answer, and those of the answer."""

    image: Path
    question: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Rows:
    """Questions as ids.

    Attributes:
        rows: one a question.
        before: ids before the image, the same for every question.
        facts: how images are prepared.
    """

    rows: tuple[Row, ...]
    before: tuple[int, ...]
    facts: ImageFacts

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, places: Sequence[int]) -> QuestionBatch:
        """The questions at `places`, padded to the longest of them."""
        rows = [self.rows[place] for place in places]
        longest = max(len(row.question) + len(row.answer) for row in rows)
        after = torch.zeros(len(rows), longest, dtype=torch.int64)
        answered = torch.zeros(len(rows), longest, dtype=torch.bool)
        for index, row in enumerate(rows):
            ids = (*row.question, *row.answer)
            after[index, : len(ids)] = torch.tensor(ids)
            answered[index, len(row.question) : len(ids)] = True
        pixels = np.concatenate([prepare(row.image, self.facts, 1) for row in rows])
        before = torch.tensor(self.before, dtype=torch.int64).expand(len(rows), -1)
        lengths = torch.tensor([len(row.question) for row in rows])
        return QuestionBatch(torch.from_numpy(pixels), before, after, lengths, answered)


@dataclass(frozen=True)
class Reader:
    """What makes ids of questions, as a finished artifact does.

    Attributes:
        tokenizer: of the model's own files.
        asking: the prompt.
        facts: of the image.
        ends: ids that end an answer; the first is trained.
        most: positions that the model has.
    """

    tokenizer: TextTokenizer
    asking: Asking
    facts: ImageFacts
    ends: Sequence[int]
    most: int

    def rows(self, questions: Sequence[Question]) -> Rows:
        """Questions as ids.

        Raises:
            RecoveryError: the image has not one place in the prompt, or the question comes before it.
        """
        before, rows = set[tuple[int, ...]](), []
        for one in questions:
            first, row = self._row(one)
            before.add(first)
            rows.append(row)
        if len(before) != 1:
            raise RecoveryError(
                f"data.prompt {self.asking.prompt!r}: the text before the image must be the same for every"
                " question: put {question} behind the image"
            )
        return Rows(tuple(rows), before.pop(), self.facts)

    def _row(self, one: Question) -> tuple[tuple[int, ...], Row]:
        prompt = self.asking.text(one)
        ids = self.tokenizer.encode(prompt)
        answer = behind(self.tokenizer, prompt, self.asking.answer_text(one.answer))
        try:
            check_prompt(ids, self.facts, True, self.most - len(answer) - 1)
        except InputError as error:
            raise RecoveryError(f"data.prompt {self.asking.prompt!r}: {error}") from error
        place = ids.index(self.facts.token_id)
        row = Row(one.image, tuple(ids[place + 1 :]), (*answer, *self.ends[:1]))
        return tuple(ids[:place]), row


def tokenizer_in(files: Sequence[Path], spec: str) -> TextTokenizer:
    """The tokenizer that an artifact would get.

    Raises:
        RecoveryError: there is none, or it cannot be read.
    """
    if not files:
        raise RecoveryError(f"{spec} has no tokenizer: no question can be read")
    try:
        return TextTokenizer(files[0].parent)
    except ArtifactError as error:
        raise RecoveryError(f"{spec}: {error}") from error


@dataclass
class QuestionBatches:
    """Questions in shuffled batches.

    Attributes:
        batch_size: over all processes.
        rank, world: this process takes the questions rank, rank + world, ... of each batch.
    """

    rows: Rows
    batch_size: int
    seed: int = 0
    rank: int = 0
    world: int = 1
    _order: Order = field(init=False, repr=False)
    _ready: tuple[int, QuestionBatch] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._order = Order(len(self.rows), self.batch_size, self.seed)

    @property
    def per_epoch(self) -> int:
        """Batches of one pass over the questions."""
        return self._order.per_epoch

    def __call__(self, step: int) -> QuestionBatch:
        """This process's part of batch `step`."""
        if self._ready is None or self._ready[0] != step:
            self.prepare(step)
        assert self._ready is not None
        return self._ready[1]

    def prepare(self, step: int) -> None:
        """Read batch `step` ahead of its use."""
        self._ready = step, self.rows.batch(self._order(step)[self.rank :: self.world].tolist())
