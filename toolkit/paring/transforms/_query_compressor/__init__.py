"""QueCC: the compressor and how a grid is cut. https://arxiv.org/abs/2411.03312"""

from __future__ import annotations

from .compressor import Patches, QueryCompressor, Widths
from .regions import Regions

__all__ = ["Patches", "QueryCompressor", "Regions", "Widths"]
