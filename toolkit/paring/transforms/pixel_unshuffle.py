"""Pixel unshuffle before the projector, as in InternVL 1.5 (there "pixel shuffle"). https://arxiv.org/abs/2404.16821

Each window of r x r patches becomes one token of r^2 times the width, which the projector's first layer
takes: the language model gets r^2 times fewer tokens, and nothing is thrown away before a layer that can
learn what to do with it. A projector trained for single patches has no such layer. The new one starts as the
old one over the window's mean, so that the model is that of average pooling **until it is trained**; only
training makes use of what pooling loses.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from . import _vision_language
from ._vision_language import VisionLanguage
from ._vision_language.folding import FoldedProjector, widened
from .traits import Traits

TRAITS = Traits(
    title="Pixel unshuffle: windows of patches in the channels of one token",
    paper="https://arxiv.org/abs/2404.16821",
    mechanism="transformation",
    training_free=False,
    static_shape=True,
    stage="projector",
)


@dataclass(frozen=True)
class Config:
    """How large the windows are."""

    r: int = field(
        default=2, metadata={"help": "patches a side of a window", "unit": "patches", "minimum": 2}
    )


def check(model: nn.Module, config: Config) -> list[str]:
    """Reasons why the patches of `model` cannot be folded."""
    seeing = _vision_language.find(model)
    if seeing is None:
        return _vision_language.why_not(model) or ["open the vision-language model first"]
    if isinstance(seeing.projector, FoldedProjector):
        return ["its projector takes windows of patches already"]
    if seeing.untile is not None:
        return ["its images are seen in tiles, whose patches are counted singly"]
    first = getattr(seeing.projector, "first", None)
    if not isinstance(first, nn.Linear):
        return [f"projector: {type(seeing.projector).__name__} begins with no linear layer"]
    return _grid_reasons(seeing, config.r)


def _grid_reasons(seeing: VisionLanguage, r: int) -> list[str]:
    tower = seeing.tower
    grid = tower.trunk.grid_after(len(tower.trunk.blocks))
    if grid is None or tower.patches() != grid[0] * grid[1]:
        return ["a step in the vision tower takes its patches out of their grid"]
    if tower.tokens() != tower.patches():
        return ["the class token is among the features, which no window holds"]
    if grid[0] % r or grid[1] % r:
        return [f"r: the {grid[0]} x {grid[1]} patches have no windows of {r} x {r}"]
    return ["key_share names single patches, which are folded then"] if tower.key_share else []


def apply(model: nn.Module, config: Config) -> nn.Module:
    """Fold the patches before the projector. The model given is consumed."""
    seeing = _vision_language.open_vision_language(model)
    projector = seeing.projector
    grid = seeing.tower.trunk.grid_after(len(seeing.tower.trunk.blocks))
    assert grid is not None  # `check` says so
    first = projector.get_submodule("first")
    assert isinstance(first, nn.Linear)
    projector.first = widened(first, config.r)
    seeing.projector = FoldedProjector(projector, (grid[0], grid[1]), config.r)
    return seeing
