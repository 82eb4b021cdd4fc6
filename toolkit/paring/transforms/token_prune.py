"""EViT: keep the patches that the class token attends to. Liang et al., https://arxiv.org/abs/2202.07800

After the attention of the chosen blocks, with score a_i = mean over heads of the class token's
attention to token i, the ceil(keep_ratio * N) patches of the highest score stay; the others are fused
into one token or dropped. N counts the patches and any token fused earlier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from ._encoder import Attended, Tokens, find, open_encoder, take, why_not
from ._encoder.grid_step import grid_taken
from .traits import Traits

TRAITS = Traits(
    title="EViT: token reorganization by class-token attention",
    paper="https://arxiv.org/abs/2202.07800",
    mechanism="attention",
    training_free=True,
    static_shape=True,
)


@dataclass(frozen=True)
class Config:
    """Which share of the patches stays, where, and what becomes of the rest."""

    keep_ratio: float = field(
        default=0.7,
        metadata={
            "help": "share of the patches kept at each chosen block",
            "unit": "1",
            "minimum": 0.01,
            "maximum": 1.0,
        },
    )
    blocks: tuple[int, ...] | None = field(
        default=None,
        metadata={
            "help": "blocks that prune, counted from 1; by default those at 1/3, 7/12 and 10/12 of the"
            " depth (4, 7, 10 of 12)",
            "minimum": 1,
        },
    )
    inattentive: str = field(
        default="fuse",
        metadata={
            "help": "the patches not kept: 'fuse' them into one token, their mean weighted by score;"
            " 'fuse_sum', their weighted sum, as the authors' code does; or 'drop' them",
            "choices": ("fuse", "fuse_sum", "drop"),
        },
    )


class PruneTokens(nn.Module):
    """Keep the highest-scored patches of a sequence."""

    needs_class_scores = True

    def __init__(self, keep_ratio: float, inattentive: str, prefix: int) -> None:
        super().__init__()
        self.keep_ratio, self.inattentive, self.prefix = keep_ratio, inattentive, prefix

    def kept(self, patches: int) -> int:
        """How many of `patches` stay. The small slack keeps 0.7 * 10 from being 8."""
        return min(patches, math.ceil(self.keep_ratio * patches - 1e-9))

    def count(self, tokens: int) -> int:
        """Tokens after this reducer."""
        kept = self.kept(tokens - self.prefix)
        fused = self.inattentive != "drop" and kept < tokens - self.prefix
        return self.prefix + kept + int(fused)

    def forward(self, tokens: Tokens, attended: Attended) -> Tokens:
        """[B, N, C] -> [B, prefix + K (+ 1), C]."""
        assert attended.class_scores is not None
        patches = tokens.x.shape[1] - self.prefix
        kept = self.kept(patches)
        if kept == patches:
            return tokens
        scores = attended.class_scores[:, self.prefix :]
        ranked, order = rank(scores)
        stay, rest = order[:, :kept] + self.prefix, order[:, kept:] + self.prefix
        parts = [tokens.x[:, : self.prefix], take(tokens.x, stay)]
        if self.inattentive != "drop":
            weights = ranked[:, None, kept:]
            parts.append(fuse(take(tokens.x, rest), weights, self.inattentive == "fuse"))
        return Tokens(
            torch.cat(parts, dim=1),
            None if tokens.size is None else self._sizes(tokens.size, stay, rest),
            self._owner(tokens, stay, rest),
            tokens.tightened((ranked[:, kept - 1] - ranked[:, kept]) / ranked[:, kept - 1]),
        )

    def _sizes(self, size: torch.Tensor, stay: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
        parts = [size[:, : self.prefix], size.gather(1, stay)]
        if self.inattentive != "drop":
            parts.append(size.gather(1, rest).sum(1, keepdim=True))
        return torch.cat(parts, dim=1)

    def _owner(self, tokens: Tokens, stay: torch.Tensor, rest: torch.Tensor) -> torch.Tensor | None:
        if tokens.owner is None:
            return None
        batch, count, _ = tokens.x.shape
        lost = -1 if self.inattentive == "drop" else self.prefix + stay.shape[1]
        target = torch.arange(count, device=stay.device).repeat(batch, 1)
        places = torch.arange(stay.shape[1], device=stay.device) + self.prefix
        target = target.scatter(1, stay, places.expand(batch, -1))
        return tokens.moved(target.scatter(1, rest, torch.full_like(rest, lost)))


def rank(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores [B, N] from high to low and where they were; equal scores stay in order of index."""
    # The whole row is sorted: ONNX TopK is then defined for ties too (lower index first).
    ranked = scores.float().sort(dim=1, descending=True, stable=True)
    return ranked.values, ranked.indices


def fuse(x: torch.Tensor, weights: torch.Tensor, normalise: bool) -> torch.Tensor:
    """One token from x [B, N, C] by weights [B, 1, N] -> [B, 1, C]: their mean, or their sum."""
    if normalise:
        weights = weights / weights.sum(-1, keepdim=True)
    return weights.to(x.dtype) @ x


def default_blocks(depth: int) -> tuple[int, ...]:
    """Blocks at 1/3, 7/12 and 10/12 of the depth, from 1."""
    return tuple(sorted({max(1, round(depth * share / 12)) for share in (4, 7, 10)}))


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why `model` cannot be pruned by class-token attention."""
    reasons = why_not(model)
    if reasons:
        return reasons
    from ._encoder.families import locate

    trunk, site = find(model), locate(model)
    depth = len(trunk.blocks) if trunk is not None else len(site.blocks) if site else 0
    wanted = config.blocks or default_blocks(depth)
    beyond = [block for block in wanted if not 1 <= block <= depth]
    if beyond:
        reasons.append(f"blocks {beyond} do not exist: the encoder has blocks 1 to {depth}")
    return class_token_reasons(model, wanted) + reasons + grid_taken(model, min(wanted))


def class_token_reasons(model: nn.Module, blocks: Sequence[int]) -> list[str]:
    """Why class-token attention in `blocks`, counted from 1, cannot be had of a model that can be opened."""
    from ._encoder.families import locate

    trunk, site = find(model), locate(model)
    has_class_token = trunk.class_token if trunk is not None else bool(site and site.class_token)
    if not has_class_token:
        return ["the model has no class token, whose attention is the score; try token_merge"]
    if trunk is None:
        return []
    opened = dict(enumerate(trunk.opened(), start=1))
    scoreless = [n for n in blocks if n in opened and not opened[n].attention.gives_class_scores]
    if not scoreless:
        return []
    return [
        f"the attention of blocks {scoreless} has no class token's attention to score tokens by: choose"
        " others"
    ]


def apply(model: nn.Module, config: Config) -> nn.Module:
    """Put a pruning step into the chosen blocks. The model given is changed and returned."""
    trunk = open_encoder(model)
    for number in config.blocks or default_blocks(len(trunk.blocks)):
        reducer = PruneTokens(config.keep_ratio, config.inattentive, trunk.prefix)
        trunk.opened()[number - 1].reducers.append(reducer)
    return model
