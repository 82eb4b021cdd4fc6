"""MustDrop's third stage as reducers: with a fixed budget, and with the paper's thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from .._decoder import Reducer, Seen, attention_rows
from .._image_reducer import ImageReducer
from .cache import sequence_places
from .dual_attention import budget_scores, dual_scores, keep_budget, passes, survivors
from .keys import remap
from .positions import PAPER_COMPAT, PERSISTENT

UNEXPORTABLE = (
    "form: threshold keeps as many tokens as the values say, which no static graph holds; use form: budget,"
    " with the budgets that `paring must-drop-budgets` finds for these thresholds on sample data"
)


class Rule(NamedTuple):
    """What stays in a stage, and at which positions.

    Attributes:
        global_threshold, individual_threshold: of `dual_attention`.
        keys: places within the image that never go, for all prompts.
        mode: one of `positions.MODES`.
    """

    global_threshold: float
    individual_threshold: float
    keys: tuple[int, ...] = ()
    mode: str = PERSISTENT


class DropByText(ImageReducer):
    """One stage: keep the image tokens of the highest score.

    Args:
        rule: how tokens are scored.
        before: image tokens that come.
        keep: image tokens that stay.
        start: the image's first column, where the prompt does not say it.
    """

    def __init__(self, rule: Rule, before: int, keep: int, start: int = 0) -> None:
        super().__init__(start, start + before, keep)
        self.rule = rule
        self.renumbers = rule.mode == PAPER_COMPAT

    def choose(self, seen: Seen) -> torch.Tensor:
        """[B, keep] places within the image, ascending."""
        start, stop = self.span(seen)
        c, m = text_scores(seen, start, stop)
        keys = key_places(seen, self.rule.keys, start, stop)
        count = 0 if keys is None else keys.shape[1]
        return keep_budget(budget_scores(c, m, *self.rule[:2], keys), self.keep, count)


class DropByThreshold(Reducer):
    """The paper's own form of a stage: how many tokens stay depends on the values. One prompt at a time.

    Args:
        rule: what stays.
        image: image tokens of the whole prompt, before any stage.
        start: the image's first column, where the prompt does not say it.
    """

    unexportable = UNEXPORTABLE

    def __init__(self, rule: Rule, image: int, start: int = 0) -> None:
        super().__init__()
        self.rule, self.image, self.start = rule, image, start
        self.renumbers = rule.mode == PAPER_COMPAT

    def count(self, tokens: int) -> int:
        """Not known from the shapes."""
        raise NotImplementedError("how many tokens the thresholds keep depends on the values")

    def forward(self, seen: Seen) -> torch.Tensor:
        """[1, K] columns that stay, ascending.

        Raises:
            ValueError: several prompts, whose counts would differ; no text after the image.
        """
        places, given = seen.tokens.places, seen.tokens.image
        batch, length = places.shape
        start = self.start if given is None else given.start
        stop = int((places[0] < start + self.image).sum())
        if batch != 1:
            raise ValueError(f"form: threshold takes one prompt at a time, given {batch}")
        if stop >= length:
            raise ValueError(f"the image ends the prompt, at column {stop}: text must follow the image")
        c, m = text_scores(seen, start, stop)
        keys = key_places(seen, self.rule.keys, start, stop)
        (kept,) = survivors(passes(c, m, *self.rule[:2], keys))
        return sequence_places(kept[None], (start, stop), length)


def text_scores(seen: Seen, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(c, m) of the image tokens at columns [start, stop), from the text behind them: [B, n] each."""
    batch, length = seen.tokens.positions.shape
    rows = torch.arange(stop, length, device=seen.query.device).expand(batch, -1)
    attention = attention_rows(seen, rows)[:, :, start:stop]
    return dual_scores(attention, seen.tokens.valid[:, stop:])


def key_places(seen: Seen, keys: Sequence[int], start: int, stop: int) -> torch.Tensor | None:
    """Where the keys of the whole image are among the survivors: by their places in the prompt. [B, K]

    Each prompt's own keys (`Tokens.image`) go before `keys`, which all prompts share.
    """
    left, image = seen.tokens.places[:, start:stop] - start, seen.tokens.image
    if image is not None and image.keys is not None:
        return remap(image.keys, left)
    if not keys:
        return None
    original = torch.tensor(sorted(keys), device=seen.query.device).expand(left.shape[0], -1)
    return remap(original, left)
