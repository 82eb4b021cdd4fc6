"""What kind of method a transform is, in the terms of the survey arXiv 2507.20198."""

from __future__ import annotations

from dataclasses import dataclass

MECHANISMS = ("transformation", "similarity", "attention", "query")
STAGES = ("encoder", "projector", "prompt", "decoder")


@dataclass(frozen=True)
class Traits:
    """Facts that `paring list transforms` shows and that exporters may rely on.

    A token method's `mechanism` is one of MECHANISMS and its `stage` one of STAGES: where in a model
    the sequence gets shorter.
    """

    title: str
    paper: str  # URL
    mechanism: str
    training_free: bool
    static_shape: bool  # token counts are fixed by the input's shape, never by its values
    stage: str = "encoder"
    fp16: bool = True  # whether an artifact in fp16 can be held to the model
    query_dependent: bool = False  # whether what stays depends on a text besides the tokens
