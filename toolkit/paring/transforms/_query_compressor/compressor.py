"""QueCC, a query-based convolutional cross-attention compressor. https://arxiv.org/abs/2411.03312

Of a grid of patches each region of s x s becomes one token:

    q = DWConv_{s, stride s}(P_q(x + t))     one query a region; t: the question, the same for every patch
    k, v = P_k(m), P_v(m)                    m: features of several layers of the tower, side by side
    token_r = MLP(W_o MHA(q_r, k_r, v_r))    attention within region r alone, no residual

x [B, P, C] are the tower's features, m [B, P, L * C], t [B, 1, C] a normed linear map of the language model's
last hidden state after the question [B, 1, C_text]. P_q, P_k, P_v are Linear, GELU, Linear, LayerNorm.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from .regions import Regions

NORM_EPSILON = 1e-6


class Widths(NamedTuple):
    """Channels of a compressor.

    Attributes:
        image: of x.
        levels: of m.
        text: of the question's hidden state; None for a compressor that looks at no text.
        inner: of queries, keys and values.
        output: of the language model.
    """

    image: int
    levels: int
    text: int | None
    inner: int
    output: int


class Patches(NamedTuple):
    """What depends on the image alone: x [B, P, C], keys and values [B, P, inner]."""

    x: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor


class QueryCompressor(nn.Module):
    """Regions of patches to tokens of the language model.

    Args:
        widths: channels.
        regions: how the patches are cut.
        heads: of the attention; a divisor of `widths.inner`.

    Raises:
        ValueError: `heads` does not divide the inner width.
    """

    def __init__(self, widths: Widths, regions: Regions, heads: int = 8) -> None:
        super().__init__()
        if widths.inner % heads:
            raise ValueError(f"{heads} heads do not divide the inner width {widths.inner}")
        self.widths, self.regions, self.heads = widths, regions, heads
        inner, s = widths.inner, regions.stride
        self.text = None if widths.text is None else _normed(nn.Linear(widths.text, widths.image))
        self.query = _projection(widths.image, inner)
        self.down = nn.Conv2d(inner, inner, s, s, groups=inner)
        self.key, self.value = _projection(widths.levels, inner), _projection(widths.levels, inner)
        self.query_in, self.key_in, self.value_in, self.out = (nn.Linear(inner, inner) for _ in range(4))
        self.mlp = nn.Sequential(
            nn.Linear(inner, widths.output), nn.GELU(), nn.Linear(widths.output, widths.output)
        )
        hidden = torch.zeros(regions.count, 1, 1, s * s)
        self.register_buffer("hidden", hidden.masked_fill(~regions.real()[:, None, None], -torch.inf), False)

    @property
    def tokens(self) -> int:
        """How many tokens an image becomes."""
        return self.regions.count

    def patches(self, x: torch.Tensor, levels: torch.Tensor) -> Patches:
        """The part that no question changes. x [B, P, C], levels [B, P, L * C]."""
        return Patches(x, self.key_in(self.key(levels)), self.value_in(self.value(levels)))

    def text_vector(self, state: torch.Tensor) -> torch.Tensor:
        """[B, 1, C_text] -> [B, 1, C].

        Raises:
            ValueError: the compressor looks at no text.
        """
        if self.text is None:
            raise ValueError("this compressor looks at no text")
        found: torch.Tensor = self.text(state)
        return found

    def compress(self, patches: Patches, text: torch.Tensor | None = None) -> torch.Tensor:
        """Patches and a question's vector [B, 1, C] -> tokens [B, regions, C of the language model]."""
        x = patches.x if text is None else patches.x + text
        queries = self.down(self.regions.image(self.query(x))).flatten(2).transpose(1, 2)  # [B, R, inner]
        mixed = self._attend(self.query_in(queries), patches.keys, patches.values)
        tokens: torch.Tensor = self.mlp(self.out(mixed))
        return tokens

    def forward(
        self, x: torch.Tensor, levels: torch.Tensor, state: torch.Tensor | None = None
    ) -> torch.Tensor:
        """x [B, P, C], levels [B, P, L * C], state [B, 1, C_text] -> [B, regions, C_output]."""
        text = None if state is None else self.text_vector(state)
        return self.compress(self.patches(x, levels), text)

    def _attend(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """One query a region, over that region's patches. [B, R, inner] and twice [B, P, inner]."""
        batch, count, inner = queries.shape
        width = inner // self.heads
        q = queries.reshape(batch, count, self.heads, 1, width)
        k, v = (
            self.regions.split(own).reshape(batch, count, -1, self.heads, width).transpose(2, 3)
            for own in (keys, values)
        )
        scores = (q * width**-0.5) @ k.transpose(3, 4)  # [B, R, heads, 1, s * s]
        if not self.regions.whole:
            scores = scores + self.get_buffer("hidden").to(scores.dtype)
        return (F.softmax(scores, -1) @ v).reshape(batch, count, inner)


def _projection(width: int, inner: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, inner), nn.LayerNorm(inner, NORM_EPSILON)
    )


def _normed(linear: nn.Linear) -> nn.Sequential:
    return nn.Sequential(linear, nn.LayerNorm(linear.out_features, NORM_EPSILON))
