"""What kind of method a transform is, in the terms of the survey arXiv 2507.20198."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Traits:
    """Facts that `paring list transforms` shows and that exporters may rely on."""

    title: str
    paper: str  # URL
    mechanism: str  # "transformation", "similarity", "attention" or "query"
    training_free: bool
    static_shape: bool  # token counts are fixed by the input's shape, never by its values
