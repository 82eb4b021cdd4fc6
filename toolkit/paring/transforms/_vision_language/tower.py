"""A vision tower up to the last layer whose features the language model gets."""

from __future__ import annotations

import math

import torch
from torch import nn

from .._encoder import Block, Tokens, Trunk
from .._encoder.block import Attention
from .._must_drop.keys import key_count, key_set


class Tower(nn.Module):
    """Pixels to features, and perhaps the key set.

    Args:
        embedding: pixels [B, 3, H, W] -> [B, N, C].
        trunk: the blocks up to the last selected layer.
        later: the blocks behind it, of which only the class token's attention is ever asked.
        class_token: whether the class token is among the features.
        size: rows and columns of the image, in pixels.
        layers: after how many blocks features are taken, see `Trunk.states`; those of several layers lie
            side by side in the channels, in this order. Its largest is the trunk's depth, which alone is
            the default.

    Attributes:
        key_share: share of the patches that are keys (MustDrop, https://arxiv.org/abs/2411.10803).
    """

    def __init__(
        self,
        embedding: nn.Module,
        trunk: Trunk,
        later: list[Block],
        class_token: bool,
        size: tuple[int, int],
        layers: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.layers = layers or (len(trunk.blocks),)
        self.embedding, self.trunk = embedding, trunk
        self.later = nn.ModuleList(later)
        self.skipped = 0 if class_token else trunk.prefix
        self.size = size
        self.key_share = 0.0

    def patches(self) -> int:
        """Patches that leave the trunk.

        Raises:
            ValueError: not as many as leave another layer whose features lie beside theirs.
        """
        left = self.trunk.tokens_after(self.trunk.prefix + math.prod(self.trunk.grid or (0,)))
        counts = [left[number] - self.trunk.prefix for number in self.layers]
        if len(set(counts)) > 1:
            raise ValueError(
                f"the features after blocks {self.layers} of the vision tower lie side by side, and are"
                f" {', '.join(map(str, counts))} patches: every step in the tower that makes them fewer"
                f" must come by block {min(self.layers)}"
            )
        return counts[0]

    def tokens(self) -> int:
        """Tokens that an image is."""
        return self.patches() + self.trunk.prefix - self.skipped

    def keys(self) -> int:
        """How many of them are keys."""
        return key_count(self.patches(), self.key_share) if self.key_share else 0

    def key_reasons(self) -> list[str]:
        """Why there can be no key set."""
        if not self.trunk.class_token:
            return ["its vision tower has no class token, whose attention names the keys"]
        if not len(self.later):
            return ["its features come from the tower's last layer, so that no later one names the keys"]
        return []

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Features [B, n, C], and keys [B, K] int64 as places among them, or None."""
        states = self.trunk.states(self.embedding(pixels), self.layers)
        last = states[self.layers.index(max(self.layers))]
        features = states[0] if len(states) == 1 else torch.cat(states, 2)
        return features[:, self.skipped :], self._keys(last) if self.key_share else None

    def _keys(self, x: torch.Tensor) -> torch.Tensor:
        *between, last = (block for block in self.later if isinstance(block, Block))
        for block in between:
            x = block(Tokens(x))[0].x
        scores = class_attention(last, x)[:, self.trunk.prefix :]
        return key_set(scores, self.key_share) + self.trunk.prefix - self.skipped


def class_attention(block: Block, x: torch.Tensor) -> torch.Tensor:
    """Head-mean attention of token 0 in a block, of which nothing else is computed: [B, N, C] -> [B, N]."""
    attention, normed = block.attention, block.norm1(x)
    assert isinstance(attention, Attention)  # additive attention has no such scores
    batch, count, _ = x.shape
    query = attention.query(normed[:, :1]).reshape(batch, 1, attention.heads, -1).transpose(1, 2)
    key = attention.key(normed).reshape(batch, count, attention.heads, -1)
    return (query @ key.permute(0, 2, 3, 1)).softmax(-1)[:, :, 0].mean(1)
