"""ToMe: merge the most similar tokens. Bolya et al., https://arxiv.org/abs/2210.09461

In each block, after attention: tokens are split into A (even places) and B (odd places); each token
of A finds the token of B with the most similar key (cosine of the head-mean keys); the r best pairs
merge, each into the mean weighted by how many patches its tokens stand for. Attention is proportional:
log(size) is added to the logits, so that a merged token counts for all that it stands for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from ._encoder import Attended, Tokens, find, open_encoder, take, why_not
from ._encoder.grid_step import grid_taken
from .token_prune import rank
from .traits import Traits

TRAITS = Traits(
    title="ToMe: token merging by bipartite soft matching",
    paper="https://arxiv.org/abs/2210.09461",
    mechanism="similarity",
    training_free=True,
    static_shape=True,
)


USUAL_KEEP_RATIO = 0.2  # the paper's r = 13 leaves 40 of a ViT's 196 patches after 12 blocks, at any depth


@dataclass(frozen=True)
class Config:
    """How many tokens merge in each block: one of `r`, `schedule` and `keep_ratio`.

    Without any of them `keep_ratio` is 0.2: at 12 blocks of 196 patches that is the paper's r = 13, and
    unlike a number of tokens it fits every depth and image size.
    """

    r: int | None = field(
        default=None,
        metadata={"help": "tokens merged away in each block", "unit": "tokens", "minimum": 0},
    )
    schedule: tuple[int, ...] | None = field(
        default=None,
        metadata={"help": "tokens merged away, one number a block", "unit": "tokens", "minimum": 0},
    )
    keep_ratio: float | None = field(
        default=None,
        metadata={
            "help": "share of the patches left after the last block, merged away evenly over the blocks;"
            " 0.2 where neither r nor schedule is given",
            "unit": "1",
            "minimum": 0.01,
            "maximum": 1.0,
        },
    )
    proportional_attention: bool = field(
        default=True, metadata={"help": "add log(size) to the attention logits"}
    )

    def __post_init__(self) -> None:
        if self.r is None and self.schedule is None and self.keep_ratio is None:
            object.__setattr__(self, "keep_ratio", USUAL_KEEP_RATIO)


@dataclass(frozen=True)
class Matching:
    """Which tokens merge. A are the even places, B the odd ones.

    Attributes:
        stay: [B, Na - r, 1] places in the sequence of A's tokens that stay, ascending, protected ones apart.
        merged: [B, r, 1] places of A's tokens that merge.
        into: [B, r, 1] places of B's tokens that they merge into.
        gap: [B] by how much the closest decision was decided; None unless asked for.
    """

    stay: torch.Tensor
    merged: torch.Tensor
    into: torch.Tensor
    gap: torch.Tensor | None


def match(metric: torch.Tensor, r: int, protected: int, with_gap: bool = False) -> Matching:
    """Bipartite soft matching of metric [B, N, D]; the first `protected` tokens never merge.

    Args:
        metric: what similarity is the cosine of.
        r: pairs to merge; at most (N - protected) // 2.
        protected: leading tokens that neither merge nor are merged into.
        with_gap: whether to compute `gap`.
    """
    count, device = metric.shape[1], metric.device
    metric = metric.float()
    metric = metric / torch.linalg.vector_norm(metric, dim=-1, keepdim=True)
    evens = torch.arange(protected + protected % 2, count, 2, device=device)
    odds = torch.arange(protected | 1, count, 2, device=device)
    scores = metric[:, protected + protected % 2 :: 2] @ metric[:, protected | 1 :: 2].transpose(1, 2)
    best, partner = nearest(scores)  # [B, Na, 1]
    ranked, order = rank(best)
    joining, staying = order.split([r, len(evens) - r], dim=1)
    into = look_up(odds, partner.gather(1, joining))
    gap = _gap(scores, ranked, joining) if with_gap else None
    return Matching(look_up(evens, staying.sort(dim=1).values), look_up(evens, joining), into, gap)


@torch.library.custom_op("paring::nearest", mutates_args=())
def nearest(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The highest score of each row and where it is, the first of equals: [B, Na, Nb] -> two of [B, Na, 1].

    An operator of its own: a maximum and its place are two reductions in ONNX, but one TopK.
    """
    found = scores.max(dim=-1, keepdim=True)
    return found.values, found.indices


@nearest.register_fake
def _(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (*scores.shape[:2], 1)
    return scores.new_empty(shape), scores.new_empty(shape, dtype=torch.long)


@torch.library.custom_op("paring::look_up", mutates_args=())
def look_up(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Entries of a table [K] by index of any shape: one Gather in ONNX, where indexing becomes two nodes."""
    return table[index]


@look_up.register_fake
def _(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return table.new_empty(index.shape)


def _gap(scores: torch.Tensor, ranked: torch.Tensor, joining: torch.Tensor) -> torch.Tensor:
    r = joining.shape[1]
    found = ranked.new_full((len(ranked),), torch.inf)
    if scores.shape[2] > 1:
        two = scores.topk(2, dim=-1).values
        found = (two[..., :1] - two[..., 1:]).gather(1, joining).amin((1, 2))
    return torch.minimum(found, (ranked[:, r - 1] - ranked[:, r])[:, 0]) if r < ranked.shape[1] else found


class MergeTokens(nn.Module):
    """Merge the most similar pairs: `r` of them, or so many that `share` of the patches stay."""

    needs_class_scores = False

    def __init__(self, prefix: int, r: int | None = None, share: float = 1.0) -> None:
        super().__init__()
        self.prefix, self.r, self.share = prefix, r, share

    def pairs(self, tokens: int) -> int:
        """How many pairs merge out of `tokens`: no more than half of the patches."""
        patches = tokens - self.prefix
        wanted = self.r if self.r is not None else patches - round(patches * self.share)
        return max(0, min(wanted, patches // 2))

    def count(self, tokens: int) -> int:
        """Tokens after this reducer."""
        return tokens - self.pairs(tokens)

    def forward(self, tokens: Tokens, attended: Attended) -> Tokens:
        """[B, N, C] -> [B, N - r, C]: A's remaining tokens, then B."""
        r = self.pairs(tokens.x.shape[1])
        if r == 0:
            return tokens
        found = match(attended.mean_keys(), r, self.prefix, tokens.margin is not None)
        size = torch.ones_like(tokens.x[..., 0]) if tokens.size is None else tokens.size
        x, size = merge(tokens.x, size, found, self.prefix)
        margin = None if found.gap is None else tokens.tightened(found.gap)
        return Tokens(x, size, self._owner(tokens, found), margin)

    def _owner(self, tokens: Tokens, found: Matching) -> torch.Tensor | None:
        if tokens.owner is None:
            return None
        batch, count, _ = tokens.x.shape
        kept = kept_places(found, count, self.prefix)[..., 0]
        now = torch.arange(kept.shape[1], device=kept.device).expand(batch, -1)
        target = torch.zeros(batch, count, dtype=torch.long, device=kept.device).scatter(1, kept, now)
        return tokens.moved(target.scatter(1, found.merged[..., 0], target.gather(1, found.into[..., 0])))


def merge(
    x: torch.Tensor, size: torch.Tensor, found: Matching, protected: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Size-weighted means over the pairs: A's remaining tokens, then B.

    x [B, N, C] and size [B, N] become [B, N - r, C] and [B, N - r]. A token that others join moves
    towards each of them by that one's share of the new size, so that the kept tokens are read once and
    what moves them is a product with a small matrix: ONNX has no scatter-mean, and TensorRT reads
    scatter reductions as plain writes.
    """
    kept, sizes = kept_places(found, x.shape[1], protected), size[..., None]
    rows = kept_rows(kept.shape[1], x.shape[1]).to(x.device)
    arriving = sizes.gather(1, found.merged).transpose(1, 2)  # [B, 1, r]
    weights = torch.where(found.into.transpose(1, 2) == rows, arriving, torch.zeros((), dtype=size.dtype))
    total = sizes.gather(1, kept) + weights.sum(-1, keepdim=True)
    away = take(x, found.merged) - take(x, found.into)
    return take(x, kept) + (weights / total) @ away, total.squeeze(-1)


def kept_places(found: Matching, count: int, protected: int) -> torch.Tensor:
    """[B, N - r, 1] places in the old sequence of the tokens of the new one, in its order."""
    batch, device = found.stay.shape[0], found.stay.device
    head = torch.arange(0, protected, 2, device=device)
    odd = torch.arange(1, count, 2, device=device)
    return torch.cat([_column(head, batch), found.stay, _column(odd, batch)], dim=1)


def kept_rows(left: int, count: int) -> torch.Tensor:
    """[N - r, 1] which token of B each token of the new sequence is; -1 for A's."""
    odd = torch.arange(1, count, 2)
    return torch.cat([odd.new_full((left - len(odd),), -1), odd])[:, None]


def _column(places: torch.Tensor, batch: int) -> torch.Tensor:
    return places[:, None].expand(batch, -1, -1)


def _reducers(config: Config, prefix: int, depth: int) -> list[MergeTokens]:
    """One reducer a block. For a keep ratio the same number merges in each, whatever the image size."""
    if config.schedule is not None:
        return [MergeTokens(prefix, r) for r in config.schedule]
    if config.r is not None:
        return [MergeTokens(prefix, config.r) for _ in range(depth)]
    assert config.keep_ratio is not None
    left = [1 - (1 - config.keep_ratio) * block / depth for block in range(depth + 1)]
    return [MergeTokens(prefix, share=left[i + 1] / left[i]) for i in range(depth)]


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why the tokens of `model` cannot be merged."""
    reasons = why_not(model)
    given = [name for name in ("r", "schedule", "keep_ratio") if getattr(config, name) is not None]
    if len(given) > 1:
        reasons.append(f"only one of r, schedule and keep_ratio can be given, not {' and '.join(given)}")
    if reasons:
        return reasons
    from ._encoder.families import locate

    trunk, site = find(model), locate(model)
    depth = len(trunk.blocks) if trunk is not None else len(site.blocks) if site else 0
    if config.schedule is not None and len(config.schedule) != depth:
        reasons.append(f"schedule has {len(config.schedule)} numbers, the encoder {depth} blocks")
    amounts = config.schedule or (1,)
    first = next((block for block, r in enumerate(amounts, start=1) if r), depth + 1)
    return reasons + grid_taken(model, first)


def apply(model: nn.Module, config: Config) -> nn.Module:
    """Put a merging step into every block that merges. The model given is changed and returned."""
    trunk = open_encoder(model)
    reducers = _reducers(config, trunk.prefix, len(trunk.blocks))
    for block, reducer in zip(trunk.opened(), reducers, strict=True):
        block.attention.proportional &= config.proportional_attention
        if reducer.r != 0:
            block.reducers.append(reducer)
    return model
