"""Attention by additions: binary queries and keys. ShiftAddViT, https://arxiv.org/abs/2306.06446

Queries and keys become bits {0, 1}, so that both products of attention select and add: per head,
o = 0.5 v + (1/pi) q_b k_b^T v, divided by its L2 norm, plus a depthwise convolution of v over 9 tokens.
Bits come from thresholds a head on normalised values ("vanilla"), or from kernel-supervised hashing ("ksh"),
where queries and keys share a projection. All that is fitted lies in buffers, so that images do not depend on
what is in their batch. The model needs recovery: the softmax that it was trained with is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from ._additive import AdditiveAttention, fit_default, fit_to, frozen, trainable, with_hash, with_thresholds
from ._encoder import Block, find, open_encoder, why_not
from ._encoder.block import Attention
from .traits import Traits

__all__ = ["TRAITS", "Config", "apply", "calibrate", "check", "frozen", "trainable"]

TRAITS = Traits(
    title="ShiftAddViT: attention by additions over binary queries and keys",
    paper="https://arxiv.org/abs/2306.06446",
    mechanism="arithmetic",
    training_free=False,
    static_shape=True,
    fp16=False,  # it rounds by more than lies between many a value and its threshold
)


@dataclass(frozen=True)
class Config:
    """Which blocks, how their queries and keys become bits, and which product comes first."""

    binarisation: str = field(
        default="vanilla",
        metadata={
            "help": "'vanilla': a threshold a head on L2-normalised queries and keys; 'ksh':"
            " kernel-supervised hashing of one projection that both share",
            "choices": ("vanilla", "ksh"),
        },
    )
    form: str = field(
        default="linear",
        metadata={
            "help": "'linear': q (k^T v), which grows with the tokens; 'quadratic': (q k^T) v, whose scores"
            " are popcounts",
            "choices": ("linear", "quadratic"),
        },
    )
    blocks: tuple[int, ...] | None = field(
        default=None,
        metadata={
            "help": "blocks whose attention becomes additive, counted from 1; by default all. The paper"
            " leaves the last stage of its pyramids as it is",
            "minimum": 1,
        },
    )
    bits: int = field(default=16, metadata={"help": "of ksh, a token's code", "unit": "bits", "minimum": 1})
    anchors: int = field(
        default=25,
        metadata={"help": "of ksh, tokens that its kernel compares with", "unit": "tokens", "minimum": 1},
    )
    seed: int = field(
        default=0, metadata={"help": "of ksh's anchors, and of what is fitted without data", "minimum": 0}
    )
    refit: bool = field(
        default=True,
        metadata={
            "help": "with calibration images, also fit the attention's output projection by least squares to"
            " what ordinary attention gave; not in the paper"
        },
    )


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why the attention of `model` cannot become additive."""
    reasons = why_not(model)
    if reasons:
        return reasons
    from ._encoder.families import locate

    trunk, site = find(model), locate(model)
    depth = len(trunk.blocks) if trunk is not None else len(site.blocks) if site else 0
    beyond = [block for block in config.blocks or () if not 1 <= block <= depth]
    if beyond:
        return [f"blocks {beyond} do not exist: the encoder has blocks 1 to {depth}"]
    opened = [] if trunk is None else trunk.opened()
    for number, block in enumerate(opened, start=1):
        if number in chosen(config, depth):
            reasons += _why_not_block(number, block)
    return reasons


def _why_not_block(number: int, block: Block) -> list[str]:
    if isinstance(block.attention, AdditiveAttention):
        return [f"block {number} has additive attention already"]
    for name in ("query", "key", "value", "output"):
        kind = type(getattr(block.attention, name)).__name__
        if kind != "Linear":
            return [
                f"block {number} has a {kind} as {name} projection: additive_attention goes before what"
                " makes it"
            ]
    if any(reducer.needs_class_scores for reducer in block.reducers):
        return [
            f"block {number} drops tokens by the class token's attention, which additive attention does not"
            " give: leave it out of the field blocks"
        ]
    return []


def chosen(config: Config, depth: int) -> tuple[int, ...]:
    """The blocks meant, from 1."""
    return config.blocks or tuple(range(1, depth + 1))


def apply(model: nn.Module, config: Config) -> nn.Module:
    """Put additive attention into the chosen blocks. The model given is changed and returned.

    Thresholds and hashes are fitted to normally distributed tokens, until `calibrate` has seen images.
    """
    trunk = open_encoder(model)
    for number in chosen(config, len(trunk.blocks)):
        block = trunk.opened()[number - 1]
        ordinary = block.attention
        assert isinstance(ordinary, Attention)  # `check` says so
        if config.binarisation == "ksh":
            kind = (config.bits, config.anchors, config.seed)
            block.attention = with_hash(ordinary, config.form, config.refit, *kind)
        else:
            block.attention = with_thresholds(ordinary, config.form, config.refit)
        block.attention.to(ordinary.output.weight).train(ordinary.training)
        fit_default(block, config.seed)
    return model


def calibrate(
    model: nn.Module, batches: Sequence[torch.Tensor], original: nn.Module | None = None
) -> nn.Module:
    """Fit the additive attention in `model` to images. The model given is changed and returned.

    Args:
        model: what `apply` gave.
        batches: images [B, C, H, W], as the model takes them; a few hundred do.
        original: the model before `apply`, opened or not; without it no projection is refitted.
    """
    if original is not None:
        open_encoder(original)
    fit_to(model, batches, original)
    return model
