"""The tokens that travel through a decoder, and what travels with them."""

from __future__ import annotations

from typing import NamedTuple

import torch

from .._encoder.tokens import take


class Image(NamedTuple):
    """Where the prompt's image is.

    Attributes:
        start: the column of its first token.
        keys: [B, K] int64, which of its tokens are never dropped, counted within the image; or None.
        raters: [B, T] bool, which words of the text behind it rate its tokens; or None.
    """

    start: int
    keys: torch.Tensor | None = None
    raters: torch.Tensor | None = None


class Tokens(NamedTuple):
    """A chunk of new tokens between two layers.

    Attributes:
        x: [B, S, C] the hidden states.
        positions: [B, S] int64, each token's place in its text, by which it is rotated. They follow a
            token when others are dropped, unless a reducer renumbers them.
        valid: [B, S] bool, False for padding.
        last: [B] int64, the index of each row's last real token; None means S - 1 (left padding).
        reduced: whether tokens of the chunk have been dropped on the way.
        image: where the image is, when the prompt says it and not the method's config.
        origin: [B, S] int64, each token's first position, where a reducer has renumbered; None means
            `positions`.
    """

    x: torch.Tensor
    positions: torch.Tensor
    valid: torch.Tensor
    last: torch.Tensor | None = None
    reduced: bool = False
    image: Image | None = None
    origin: torch.Tensor | None = None

    @property
    def places(self) -> torch.Tensor:
        """[B, S] int64: each token's place in its text, whatever `positions` are now."""
        return self.positions if self.origin is None else self.origin

    def kept(self, index: torch.Tensor, renumber: bool = False) -> Tokens:
        """The tokens at `index` [B, K], int64 and ascending. A row keeps its last token where it can.

        `renumber` gives them the positions 0 to K - 1, which is meant for prompts without padding.
        """
        last = None if self.last is None else ((index <= self.last[:, None]).sum(1) - 1).clamp(min=0)
        positions, valid = self.positions.gather(1, index), self.valid.gather(1, index)
        origin = None if self.origin is None else self.origin.gather(1, index)
        if renumber:
            origin = positions if origin is None else origin
            positions = torch.arange(index.shape[1], device=index.device).expand(index.shape[0], -1)
        return Tokens(take(self.x, index), positions, valid, last, True, self.image, origin)
