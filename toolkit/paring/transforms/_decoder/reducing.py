"""How tokens leave a decoder: the interface that a token-dropping method implements.

A *reducer* is a module that a method appends to `decoder.layers[i].reducers`. It runs after layer i has
computed its tokens whole (attention and MLP), on a chunk of new tokens, which is a prompt: `Decoder.run`
calls it only with `reduce=True`, and a decode step passes False. It receives a `Seen` and returns
`index` [B, K] int64: the tokens that stay, **ascending in each row and without repeats**, with K known from
the shapes alone (`count(S)`), so that the graph is static. Then

- hidden states, positions, `valid` and `last` are gathered by `index`, and layers i + 1, i + 2, ... work
  on K tokens: they rotate by the *original* positions and see only each other;
- a reducer with `renumbers` gives the survivors the positions 0 to K - 1 instead, and `Tokens.places` then
  holds their own: that is how some released code works, and never the default;
- every layer keeps the keys and values of the tokens that came to it. Layers 0..i hold S rows, later ones
  K, so that the lengths of `Decoded.memory` differ by layer. A decode step then takes the cache as it is:
  `Growing` with one mask a layer ([B, P_i + 1]), or `InPlace` with one set of slots a layer. The next
  token's position is the last one plus 1 whatever was dropped; its slot is the layer's own length.

Scores are computed here, explicitly and only where a reducer asks; attention itself stays fused:

- `attention_rows(seen, rows)` is softmax attention of chosen query rows, averaged over heads (FastV,
  MustDrop: the text's rows over the image's columns);
- `raw_scores(seen, rows)` is q k^T for each head, neither scaled nor masked (GemFilter sums them over the
  heads for the last token). Mask them by `seen.tokens.valid` before a choice.

Both are in fp32. Padding (`valid` False) must score lowest; a row with fewer than K real tokens keeps
padding too, which stays invalid in later layers. With left padding the last token is the last column; with
right padding it is `seen.tokens.last`: `last_rows(seen)` gives either.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import nn

from .._encoder.tokens import take
from .memory import visible_bias
from .tokens import Tokens


class Seen(NamedTuple):
    """What one layer's attention saw of the chunk itself; rows of an older cache are not in it.

    Attributes:
        query: [B, H, S, D] rotated, not scaled.
        key: [B, G, S, D] rotated; head h of the query belongs to head h // (H / G) of the keys.
        bias: [B, 1, S, S] added to the scaled scores: 0 where a query sees a key, very low elsewhere.
        scale: of the scores, before softmax.
        tokens: the chunk after the layer.
    """

    query: torch.Tensor
    key: torch.Tensor
    bias: torch.Tensor
    scale: float
    tokens: Tokens

    def kept(self, index: torch.Tensor, renumber: bool = False) -> Seen:
        """What the layer saw of the tokens at `index` [B, K], for the next reducer of the same layer."""
        tokens = self.tokens.kept(index, renumber)
        query, key = (_rows(value, index) for value in (self.query, self.key))
        return Seen(query, key, chunk_bias(tokens, None), self.scale, tokens)


class Reducer(nn.Module):
    """Chooses the tokens that stay; see the module's docstring for what it promises.

    Attributes:
        renumbers: whether survivors get the positions 0 to K - 1 in place of their own.
        unexportable: why no graph can hold it, where the values decide how many stay; otherwise empty.
    """

    renumbers: bool = False
    unexportable: str = ""

    @abstractmethod
    def forward(self, seen: Seen) -> torch.Tensor:
        """The kept tokens, [B, K] int64, ascending."""

    @abstractmethod
    def count(self, tokens: int) -> int:
        """K: how many tokens leave when `tokens` come."""


def last_rows(seen: Seen) -> torch.Tensor:
    """[B, 1] int64: the row of each last real token."""
    batch, count = seen.tokens.positions.shape
    if seen.tokens.last is not None:
        return seen.tokens.last[:, None]
    return torch.full((batch, 1), count - 1, dtype=torch.int64, device=seen.query.device)


def raw_scores(seen: Seen, rows: torch.Tensor) -> torch.Tensor:
    """q k^T of the query rows [B, R], fp32, neither scaled nor masked -> [B, H, R, S]."""
    query = _rows(seen.query, rows).float()
    batch, heads, count, width = query.shape
    groups = seen.key.shape[1]
    # The heads of a group share their keys: [B, G, H/G * R, D] x [B, G, D, S].
    folded = query.reshape(batch, groups, heads // groups * count, width)
    return (folded @ seen.key.float().transpose(2, 3)).reshape(batch, heads, count, -1)


def attention_rows(seen: Seen, rows: torch.Tensor) -> torch.Tensor:
    """Softmax attention of the query rows [B, R], averaged over heads, fp32 -> [B, R, S]."""
    chosen = take(seen.bias[:, 0].float(), rows)[:, None]  # [B, 1, R, S]
    return (raw_scores(seen, rows) * seen.scale + chosen).softmax(-1).mean(1)


def chunk_bias(tokens: Tokens, window: int | None) -> torch.Tensor:
    """Causal attention inside the chunk: [B, 1, S, S]."""
    count = tokens.positions.shape[1]
    rows = torch.arange(count, device=tokens.x.device)
    return visible_bias(rows[None], rows[None], tokens.valid, window, tokens.x.dtype)


def _rows(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """[B, H, S, D] at `index` [B, K] -> [B, H, K, D]."""
    batch, heads, count, width = values.shape
    flat = values.transpose(1, 2).reshape(batch, count, heads * width)
    return take(flat, index).reshape(batch, -1, heads, width).transpose(1, 2)
