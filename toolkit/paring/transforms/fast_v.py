"""FastV: half of the image tokens go after the second layer. https://arxiv.org/abs/2403.06764

An image token's score is the attention that it receives in the last layer that sees all tokens, averaged over
heads: from the prompt's last token, as the authors' code has it, or from all tokens, as the paper words it.
Only that layer's scores are computed apart from the fused attention.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from ._decoder import Seen, attention_rows, open_decoder
from ._decoder.reducing import last_rows
from ._fast_v import LAYER, RATIO, kept_count, received, select
from ._image_reducer import IMAGE, ImageReducer, image_of, image_reasons, rejoined
from .traits import Traits

TRAITS = Traits(
    title="FastV: dropping image tokens after an early layer",
    paper="https://arxiv.org/abs/2403.06764",
    mechanism="attention",
    training_free=True,
    static_shape=True,
    stage="decoder",
    query_dependent=True,
)


@dataclass(frozen=True)
class Config:
    """Where the image is, which share of it goes, and when."""

    image: tuple[int, ...] = field(default=(0, 0), metadata=IMAGE)
    layers: int = field(
        default=LAYER, metadata={"help": "how many layers see every token", "unit": "layers", "minimum": 1}
    )
    ratio: float = field(
        default=RATIO,
        metadata={"help": "share of the image tokens that go", "unit": "1", "minimum": 0.0, "maximum": 0.99},
    )
    rows: str = field(
        default="last",
        metadata={
            "help": "whose attention counts: 'last', the prompt's last token; or 'all' tokens",
            "choices": ("last", "all"),
        },
    )


class DropUnattended(ImageReducer):
    """Keep the image tokens that receive the most attention."""

    def __init__(self, config: Config, image: tuple[int, ...]) -> None:
        start, stop = image
        super().__init__(start, stop, kept_count(stop - start, config.ratio))
        self.ratio, self.last_row = config.ratio, config.rows == "last"

    def choose(self, seen: Seen) -> torch.Tensor:
        """[B, keep] places within the image, ascending."""
        batch, length = seen.tokens.positions.shape
        every = torch.arange(length, device=seen.query.device).expand(batch, -1)
        attention = attention_rows(seen, last_rows(seen) if self.last_row else every)  # [B, R, S]
        return select(received(attention[:, None], self.span(seen), self.last_row), self.ratio)


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why image tokens of `model` cannot be dropped."""
    image = image_of(model, config.image)
    start, stop = image if len(image) == 2 else (0, 0)  # then refused below
    keep = kept_count(stop - start, config.ratio)
    return image_reasons(model, image, (config.layers - 1,), (keep,))


def apply(model: nn.Module, config: Config) -> nn.Module:
    """Drop image tokens after the chosen layer. The model given is consumed."""
    decoder = open_decoder(model)
    reducer = DropUnattended(config, image_of(model, config.image))
    decoder.opened()[config.layers - 1].reducers.append(reducer)
    return rejoined(model, decoder)
