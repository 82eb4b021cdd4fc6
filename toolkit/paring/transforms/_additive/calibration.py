"""Fits a model's binary attention to samples, block by block: each block sees what those before it make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from .._encoder import Block, Tokens, Trunk, find
from .attention import AdditiveAttention

RIDGE = 1e-3  # relative to the mean square of what is regressed on


def fit_default(block: Block, seed: int) -> None:
    """Fit to normally distributed tokens: what there is to know of a block without data."""
    assert isinstance(block.attention, AdditiveAttention)
    width = block.attention.value.in_features
    like = block.attention.value.weight
    tokens = torch.randn(8, 64, width, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        block.attention.fit(block.norm1(tokens.to(like)))


@torch.no_grad()
def fit_to(model: nn.Module, batches: Sequence[torch.Tensor], original: nn.Module | None) -> None:
    """Fit every binary attention in `model` to images, given in batches [B, C, H, W].

    With `original`, the model as it was before, the output's projections that may be refitted are, by least
    squares: so that what leaves the attention is what left the original's, and errors do not add up. That
    needs every token to be where it was: blocks from the first token step on are not refitted.
    """
    trunk, teacher = find(model), None if original is None else find(original)
    assert trunk is not None
    streams = list(entering(model, trunk, batches))
    wanted = streams
    for number, block in enumerate(trunk.opened()):
        other = None if teacher is None else teacher.opened()[number]
        attention = block.attention
        if isinstance(attention, AdditiveAttention):
            attention.fit(torch.cat([block.norm1(tokens.x) for tokens in streams]))
            if attention.refit and other is not None:
                refit(block, attention, other, streams, wanted)
        streams = [block(tokens)[0] for tokens in streams]
        if other is not None:
            wanted = [other(tokens)[0] for tokens in wanted]
        if block.steps():
            teacher = None


def entering(model: nn.Module, trunk: Trunk, batches: Sequence[torch.Tensor]) -> Iterator[Tokens]:
    """What enters the trunk for each batch."""
    seen: list[torch.Tensor] = []
    handle = trunk.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    try:
        for images in batches:
            model(images)
            yield Tokens(seen.pop())
    finally:
        handle.remove()


def refit(
    block: Block, attention: AdditiveAttention, other: Block, streams: list[Tokens], wanted: list[Tokens]
) -> None:
    """Make x + output(mixed) of the changed block nearest to that of the other, whose stream is `wanted`."""
    width = attention.output.in_features + 1
    gram = torch.zeros(width, width, dtype=torch.float64, device=attention.output.weight.device)
    answer = gram.new_zeros(width, attention.output.out_features)
    for tokens, ideal in zip(streams, wanted, strict=True):
        mixed = attention.mixed(block.norm1(tokens.x), tokens.size)[0].flatten(0, 1).double()
        inputs = torch.cat([mixed, torch.ones_like(mixed[:, :1])], dim=1)
        aim = ideal.x + other.attention(other.norm1(ideal.x), ideal.size, False)[0] - tokens.x
        gram += inputs.T @ inputs
        answer += inputs.T @ aim.flatten(0, 1).double()
    gram += RIDGE * gram.diagonal().mean() * torch.eye(width, dtype=gram.dtype, device=gram.device)
    found = torch.linalg.solve(gram, answer).to(attention.output.weight.dtype)
    attention.output.weight.copy_(found[:-1].T)
    attention.output.bias.copy_(found[-1])
