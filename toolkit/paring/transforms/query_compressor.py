"""QueCC: regions of patches become a token each, by what the question asks. https://arxiv.org/abs/2411.03312

In the projector's place: each region of s x s patches is one query, a strided depthwise convolution of the
tower's features with the question's vector added, and attends to the region's patches alone, whose keys and
values come from several levels of the tower. Made for few tokens: 36, 16, 4, 1 of 576.

The question's vector comes from the language model, which reads the text after the image once more, alone.
That pass is part of the time to the first token ("prompt"). A task whose question is known has a constant in
its place ("constant"): no pass, and image tokens that serve every question.

The compressor is a network that has to be trained with the model. Without `weights` it is random, and what
the model then says of images means nothing: its speed alone is real.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from . import _vision_language
from ._query_compressor import QueryCompressor, Regions, Widths
from ._query_compressor.weights import load, reasons_of_weights
from ._vision_language import VisionLanguage
from ._vision_language.folding import FoldedProjector
from ._vision_language.question import question_state
from .traits import Traits

TRAITS = Traits(
    title="QueCC: convolutional cross-attention over regions, by the question",
    paper="https://arxiv.org/abs/2411.03312",
    mechanism="query",
    training_free=False,
    static_shape=True,
    stage="projector",
    query_dependent=True,
)
PAPER_DEPTH, PAPER_LEVELS = 23, (12, 16, 22, 23)  # the selected layer of CLIP ViT-L, and the levels
TEXTS = ("prompt", "constant", "none")


@dataclass(frozen=True)
class Config:
    """How large the regions are, what the compressor looks at, and its weights."""

    stride: int = field(
        default=4,
        metadata={
            "help": "patches a side of a region: of 24 x 24 patches 24, 12, 6, 4, 3 give 1, 4, 16, 36, 64"
            " tokens",
            "unit": "patches",
            "minimum": 2,
        },
    )
    levels: tuple[int, ...] = field(
        default=(),
        metadata={
            "help": "levels of the tower that keys and values see, side by side; a level is what so many of"
            " its layers give, as in hidden_states. Empty: the paper's 12, 16, 22, 23, to the depth's scale",
            "minimum": 0,
        },
    )
    inner: int | None = field(
        default=None,
        metadata={
            "help": "channels of queries, keys and values; by default the tower's",
            "unit": "channels",
            "minimum": 1,
        },
    )
    heads: int = field(default=8, metadata={"help": "of the attention within a region", "minimum": 1})
    text: str = field(
        default="prompt",
        metadata={
            "help": "what the queries see of the text: 'prompt', the text after the image, which the"
            " language model reads once more for it; 'constant', the field prompt, read once and for all;"
            " 'none'",
            "choices": TEXTS,
        },
    )
    prompt: str | None = field(
        default=None,
        metadata={"help": "the task's prompt, for text 'constant'; special tokens are not added"},
    )
    weights: str | None = field(
        default=None,
        metadata={"help": "a safetensors file of the compressor's weights; without it they are random"},
    )


def untrained(config: Config) -> str:
    """Why what comes out means nothing, or an empty text."""
    if config.weights is not None:
        return ""
    return (
        "the compressor's weights are RANDOM, so that what the model says of an image means nothing and only"
        " its speed is real; train it and name the file in weights"
    )


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why no compressor can stand in the projector's place."""
    seeing = _vision_language.find(model)
    if seeing is None:
        return _vision_language.why_not(model) or ["open the vision-language model first"]
    reasons = _place_reasons(seeing) or _size_reasons(seeing, config)
    reasons += _text_reasons(seeing, config)
    if not reasons and config.weights is not None:
        with torch.device("meta"):
            made = compressor(seeing, config)
        reasons += reasons_of_weights(Path(config.weights), made)
    return reasons


def _place_reasons(seeing: VisionLanguage) -> list[str]:
    tower, grid = seeing.tower, grid_of(seeing)
    if seeing.compressor is not None:
        return ["it has a query compressor already"]
    if isinstance(seeing.projector, FoldedProjector):
        return ["its projector takes windows of patches, whose place the compressor would take"]
    if seeing.untile is not None:
        return ["its images are seen in tiles, which the compressor was not made for"]
    if seeing.reducing_layers():
        return ["steps in its language model count on the projector's image tokens: put them behind this one"]
    if any(block.steps() for block in tower.trunk.opened()):
        return ["a step in the vision tower drops or joins patches, and its levels then differ in their grid"]
    if len(grid) != 2:
        return ["the patches of its vision tower lie on no known grid of rows and columns"]
    if tower.tokens() != tower.patches():
        return ["the class token is among the features, which no region holds"]
    return ["key_share names single patches, which go into regions then"] if tower.key_share else []


def _size_reasons(seeing: VisionLanguage, config: Config) -> list[str]:
    grid, depth, reasons = grid_of(seeing), len(seeing.tower.trunk.blocks), []
    if config.stride > max(grid):
        reasons.append(f"stride: {config.stride} is more than the {grid[0]} x {grid[1]} patches have")
    if any(level > depth for level in config.levels):
        reasons.append(
            f"levels: {config.levels} must be from 0 to {depth}, the layer of the model's features"
        )
    inner = config.inner or width_of(seeing)
    if inner % config.heads:
        reasons.append(f"heads: {config.heads} do not divide the inner width {inner}")
    return reasons


def _text_reasons(seeing: VisionLanguage, config: Config) -> list[str]:
    if config.text != "constant":
        return [] if config.prompt is None else [f"prompt: text {config.text!r} has none; leave it out"]
    if not config.prompt:
        return ["prompt: text 'constant' needs one"]
    if seeing.text_ids is None:
        return ["prompt: the model came without a tokenizer, so that it cannot be read"]
    ids = seeing.text_ids(config.prompt)
    if seeing.image_token in ids:
        return ["prompt: it is the text after the image, without the image's token"]
    most = seeing.decoder.max_positions
    return [] if 0 < len(ids) <= most else [f"prompt: it has {len(ids)} tokens; 1 to {most} can be read"]


def grid_of(seeing: VisionLanguage) -> tuple[int, ...]:
    """Rows and columns of the tower's patches; empty where they lie on no grid."""
    return seeing.tower.trunk.grid_after(len(seeing.tower.trunk.blocks)) or ()


def features_of(seeing: VisionLanguage) -> int:
    """Channels of the tower's features, which the projector takes: perhaps of several layers side by side."""
    first = seeing.projector.get_submodule("first")
    assert isinstance(first, nn.Linear)
    return first.in_features


def width_of(seeing: VisionLanguage) -> int:
    """Channels of one layer of the tower."""
    return features_of(seeing) // len(seeing.tower.layers)


def levels_of(seeing: VisionLanguage, config: Config) -> tuple[int, ...]:
    """The levels that keys and values see."""
    depth = len(seeing.tower.trunk.blocks)
    scaled = (round(level * depth / PAPER_DEPTH) for level in PAPER_LEVELS)
    return config.levels or tuple(dict.fromkeys(scaled))


def compressor(seeing: VisionLanguage, config: Config) -> QueryCompressor:
    """The compressor of this model and config, its weights random, the same every time."""
    width, output = width_of(seeing), seeing.decoder.head.in_features
    text = None if config.text == "none" else output
    widths = Widths(
        features_of(seeing), width * len(levels_of(seeing, config)), text, config.inner or width, output
    )
    rows, columns = grid_of(seeing)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return QueryCompressor(widths, Regions((rows, columns), config.stride), config.heads)


def apply(model: nn.Module, config: Config) -> nn.Module:
    """Put a compressor in the projector's place. The model given is consumed.

    Raises:
        ValueError: `weights` is not that compressor's.
    """
    seeing = _vision_language.open_vision_language(model)
    made = compressor(seeing, config)
    if config.weights is not None:
        load(made, Path(config.weights))
    like = seeing.decoder.head.weight
    seeing.levels = levels_of(seeing, config)
    seeing.compressor = made.to(like.device, like.dtype).train(model.training)
    seeing.projector = nn.Identity()  # its weights are gone: the compressor ends in the model's width
    seeing.asks = config.text == "prompt"
    if config.text == "constant":
        assert seeing.text_ids is not None  # `check` says so
        assert config.prompt is not None
        ids = torch.tensor([seeing.text_ids(config.prompt)], device=like.device)
        seeing.prompt_state = question_state(seeing.decoder, ids)
    return seeing
