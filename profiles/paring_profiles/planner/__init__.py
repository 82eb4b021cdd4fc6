"""Which model and how many visual tokens a budget buys: "inference-optimal VLMs", https://arxiv.org/abs/2411.03312

A vision-language model of N parameters that reads V visual tokens and Q tokens of text does about
2 N (Q + V) multiplications and additions for a prompt. With the error Y(N, V) = A / (N^alpha V^beta) + D
fitted to measured scores, a budget asks: many tokens for a small model, or few for a large one?
"""

from __future__ import annotations

from .choose import Answer, Budget, choose, choose_by_latency, frontier, frontier_by_latency
from .law import Fit, Law, fit
from .recorded import read_profiles
from .table import Measured, Table, published, read_table

__all__ = [
    "Answer",
    "Budget",
    "Fit",
    "Law",
    "Measured",
    "Table",
    "choose",
    "choose_by_latency",
    "fit",
    "frontier",
    "frontier_by_latency",
    "published",
    "read_profiles",
    "read_table",
]
