"""One pre-norm transformer block, the same for every model family, with a place for reducers.

x = x + proj(attention(norm1(x)));  x = reduce(x);  x = x + mlp(norm2(x));  x = end(x)

The exported graph holds nothing that the mathematics does not need: the softmax scale is folded into the
query weights, layer scale into the last linear layers, and the bias of the values into the output's, since a
token's attention sums to one. The bias of the keys shifts all logits of a query alike, which softmax does
not see, so that it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import torch
from torch import nn

from .tokens import Tokens


class BlockParts(NamedTuple):
    """What a family takes out of one of its own blocks. Linear layers map C to C unless said."""

    norm1: nn.Module
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear
    heads: int
    scale: float
    norm2: nn.Module
    mlp: nn.Module
    query_norm: nn.Module | None = None  # over the head dimension
    key_norm: nn.Module | None = None


class Attended(NamedTuple):
    """What attention saw, for the reducers. `class_scores` is None unless a reducer asks."""

    keys: torch.Tensor  # [B, N, H, D], without their bias
    class_scores: torch.Tensor | None  # [B, N] head-mean attention of the class token
    key_bias: torch.Tensor | None = None  # [D], head-mean

    def mean_keys(self) -> torch.Tensor:
        """Head-mean of the keys, with their bias, [B, N, D]."""
        mean = self.keys.mean(2)
        return mean if self.key_bias is None else mean + self.key_bias


class Reducer(Protocol):
    """A module that makes the sequence shorter, between attention and MLP."""

    needs_class_scores: bool

    def __call__(self, tokens: Tokens, attended: Attended) -> Tokens:
        """The shorter sequence."""

    def count(self, tokens: int) -> int:
        """How many tokens leave when `tokens` come."""


class Ending(Protocol):
    """A module that makes the sequence shorter after the MLP: it sees the block's output alone."""

    def __call__(self, tokens: Tokens) -> Tokens:
        """The shorter sequence."""

    def count(self, tokens: int) -> int:
        """How many tokens leave when `tokens` come."""


class SelfAttention(nn.Module):
    """What stands in a block as its attention.

    Attributes:
        proportional: whether a token that stands for several counts as often (ToMe, arXiv 2210.09461).
        gives_class_scores: whether the class token's attention can be asked for.
    """

    proportional: bool
    gives_class_scores = True

    def forward(
        self, x: torch.Tensor, size: torch.Tensor | None, class_scores: bool
    ) -> tuple[torch.Tensor, Attended]:
        """x [B, N, C], size [B, N] or None -> [B, N, C] and what the reducers need."""
        raise NotImplementedError


class Attention(SelfAttention):
    """Multi-head attention with softmax; with token sizes it is proportional (ToMe, arXiv 2210.09461)."""

    def __init__(self, parts: BlockParts) -> None:
        super().__init__()
        self.query, self.key = parts.query, parts.key
        self.value, self.output = without_value_bias(parts.value, parts.output)
        self.key_bias: torch.Tensor | None
        self.register_buffer("key_bias", None)
        self.query_norm, self.key_norm = parts.query_norm, parts.key_norm
        self.heads = parts.heads
        self.proportional = True
        self.scale = 1.0
        if parts.query_norm is not None:
            self.scale = parts.scale
            return
        self.query = scaled(parts.query, parts.scale)
        if parts.key.bias is not None:
            self.key_bias = parts.key.bias.detach().reshape(parts.heads, -1).mean(0)
            self.key = without_bias(parts.key)

    def forward(
        self, x: torch.Tensor, size: torch.Tensor | None, class_scores: bool
    ) -> tuple[torch.Tensor, Attended]:
        """x [B, N, C], size [B, N] or None -> [B, N, C] and what the reducers need."""
        batch, count, _ = x.shape
        shape = (batch, count, self.heads, -1)
        query, key, value = (layer(x).reshape(shape) for layer in (self.query, self.key, self.value))
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query) * self.scale, self.key_norm(key)
        logits = query.transpose(1, 2) @ key.permute(0, 2, 3, 1)  # [B, H, N, N]
        if size is not None and self.proportional:
            logits = logits + size.log().reshape(batch, 1, 1, count)
        weights = logits.softmax(-1)
        mixed = (weights @ value.transpose(1, 2)).transpose(1, 2).reshape(batch, count, -1)
        scores = weights[:, :, 0].mean(1) if class_scores else None
        return self.output(mixed), Attended(key, scores, self.key_bias)


class Block(nn.Module):
    """One block with its reducers, between attention and MLP, and its endings, after the MLP."""

    def __init__(self, parts: BlockParts) -> None:
        super().__init__()
        self.norm1 = parts.norm1
        self.attention: SelfAttention = Attention(parts)
        self.norm2, self.mlp = parts.norm2, parts.mlp
        self.reducers = nn.ModuleList()
        self.endings = nn.ModuleList()

    def steps(self) -> list[nn.Module]:
        """Everything that makes the sequence shorter here, in order."""
        return [*self.reducers, *self.endings]

    def forward(self, tokens: Tokens) -> tuple[Tokens, list[Tokens]]:
        """Tokens -> tokens, and the tokens after each reducer and each ending."""
        wanted = any(reducer.needs_class_scores for reducer in self.reducers)
        mixed, attended = self.attention(self.norm1(tokens.x), tokens.size, wanted)
        tokens = tokens._replace(x=tokens.x + mixed)
        stages = []
        for index, reducer in enumerate(self.reducers):
            if index + 1 == len(self.reducers):
                tokens = reducer(tokens, attended)
            else:
                tokens, attended = reduce_all(reducer, tokens, attended)
            stages.append(tokens)
        tokens = tokens._replace(x=tokens.x + self.mlp(self.norm2(tokens.x)))
        for ending in self.endings:
            tokens = ending(tokens)
            stages.append(tokens)
        return tokens, stages


def reduce_all(
    reducer: Callable[[Tokens, Attended], Tokens], tokens: Tokens, attended: Attended
) -> tuple[Tokens, Attended]:
    """Reduce what attention saw along with the tokens, for the next reducer of the same block."""
    width = tokens.x.shape[2]
    extra = [tokens.x, attended.keys.flatten(2)]
    if attended.class_scores is not None:
        extra.append(attended.class_scores[..., None])
    reduced = reducer(tokens._replace(x=torch.cat(extra, dim=2)), attended)
    batch, count, _ = reduced.x.shape
    keys = reduced.x[..., width : width + extra[1].shape[2]]
    scores = None if attended.class_scores is None else reduced.x[..., -1]
    shaped = keys.reshape(batch, count, *attended.keys.shape[2:])
    return reduced._replace(x=reduced.x[..., :width]), Attended(shaped, scores, attended.key_bias)


def scaled(linear: nn.Linear, factor: float | torch.Tensor) -> nn.Linear:
    """`linear` with its output multiplied by `factor` (a number, or [out_features])."""
    bias = linear.bias is not None
    result = nn.Linear(
        linear.in_features,
        linear.out_features,
        bias,
        device=linear.weight.device,
        dtype=linear.weight.dtype,
    )
    with torch.no_grad():
        column = factor[:, None] if isinstance(factor, torch.Tensor) else factor
        result.weight.copy_(linear.weight * column)
        if bias:
            result.bias.copy_(linear.bias * factor)
    return result


def without_bias(linear: nn.Linear) -> nn.Linear:
    """`linear` over the same weights, with no bias."""
    result = nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta")
    result.weight = linear.weight
    return result


def without_value_bias(value: nn.Linear, output: nn.Linear) -> tuple[nn.Linear, nn.Linear]:
    """The same two projections, with the bias of the values carried through to the output's."""
    if value.bias is None:
        return value, output
    with torch.no_grad():
        carried = output.weight @ value.bias
        if output.bias is not None:
            carried = carried + output.bias
    result = without_bias(output)
    result.bias = nn.Parameter(carried)
    return without_bias(value), result


def split_rows(linear: nn.Linear, parts: int) -> Iterable[nn.Linear]:
    """A fused projection as `parts` linear layers over its rows."""
    rows = linear.out_features // parts
    for index in range(parts):
        piece = nn.Linear(linear.in_features, rows, bias=linear.bias is not None, device="meta")
        chosen = slice(index * rows, (index + 1) * rows)
        piece.weight = nn.Parameter(linear.weight[chosen].detach().clone())
        if linear.bias is not None:
            piece.bias = nn.Parameter(linear.bias[chosen].detach().clone())
        yield piece
