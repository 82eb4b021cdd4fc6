"""SparseVLM: words that look at the image rate its tokens. https://arxiv.org/abs/2410.04417

Not every word of a question is about the image. With H_v [n, C] the image's tokens and H_q [T, C] those of
the text behind it, both as they enter the language model, word t's relevance is

    R_t = mean_j softmax_t(H_v H_q^T)_jt,

and the raters are the words of R_t > mean R. After each chosen layer an image token's score is the attention
that it gets there from the raters, averaged over heads and raters; the highest stay.

The paper sets a stage's count by the rank of that attention; its released code, like this one, by constants.
The paper also clusters some of the dropped tokens into new ones, which is not done here. Survivors keep their
positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from . import _vision_language
from ._decoder import Seen, attention_rows, open_decoder
from ._image_reducer import ImageReducer, image_of, image_reasons, rejoined
from .token_prune import rank
from .traits import Traits

TRAITS = Traits(
    title="SparseVLM: image tokens rated by the words that look at the image",
    paper="https://arxiv.org/abs/2410.04417",
    mechanism="query",
    training_free=True,
    static_shape=True,
    stage="decoder",
    query_dependent=True,
)


@dataclass(frozen=True)
class Config:
    """After which layers image tokens go, and how many are left. The defaults are for LLaVA-1.5."""

    layers: tuple[int, ...] = field(
        default=(2, 6, 15),
        metadata={"help": "layers after which tokens are dropped, counted from 0", "minimum": 0},
    )
    budgets: tuple[int, ...] = field(
        default=(300, 200, 110),
        metadata={
            "help": "image tokens left after each of the layers; the released code's for 192, 128 and 64"
            " tokens on average are 300, 200, 110; 303, 110, 36; and 66, 30, 17",
            "unit": "tokens",
            "minimum": 1,
        },
    )


class DropByRaters(ImageReducer):
    """One stage: keep the image tokens that the raters attend to most."""

    def __init__(self, before: int, keep: int) -> None:
        super().__init__(0, before, keep)

    def choose(self, seen: Seen) -> torch.Tensor:
        """[B, keep] places within the image, ascending; equal scores by index.

        Raises:
            ValueError: the prompt does not say which words are raters.
        """
        image = seen.tokens.image
        if image is None or image.raters is None:
            raise ValueError("the raters are named by a vision-language model's prompt, and this is none")
        start, stop = self.span(seen)
        batch, length = seen.tokens.positions.shape
        rows = torch.arange(stop, length, device=seen.query.device).expand(batch, -1)
        scores = rated(attention_rows(seen, rows)[:, :, start:stop], image.raters)
        return rank(scores)[1][:, : self.keep].sort(dim=1).values


def rated(attention: torch.Tensor, raters: torch.Tensor) -> torch.Tensor:
    """Mean attention of the raters [B, T] bool: A [B, T, n] -> [B, n] fp32."""
    weights = raters.float()
    weights = weights / weights.sum(1, keepdim=True)
    return (weights[:, None] @ attention.float())[:, 0]


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why image tokens of `model` cannot be dropped."""
    seeing = _vision_language.find(model)
    if seeing is None:
        reasons = _vision_language.why_not(model)
        return reasons or ["open the vision-language model first"]
    return image_reasons(model, image_of(model, (0, 0)), config.layers, config.budgets)


def apply(model: nn.Module, config: Config) -> nn.Module:
    """Drop image tokens after each chosen layer. The model given is consumed."""
    seeing, decoder = _vision_language.open_vision_language(model), open_decoder(model)
    seeing.named_raters = True
    coming = (seeing.image_tokens, *config.budgets)
    for index, before, keep in zip(config.layers, coming, config.budgets, strict=False):
        decoder.opened()[index].reducers.append(DropByRaters(before, keep))
    return rejoined(model, decoder)
