"""What a model's operations and memory traffic would cost a chip: a ledger over any ONNX graph. Modelled.

Each sum of products is charged by the arithmetic that the graph itself gives evidence of: weights that
are all powers of two times a scale are shifted, not multiplied; an operand of zeros and ones selects
what is added. Nothing here is measured, and nothing measured is here.
"""

from __future__ import annotations

from .book import Ledger, ledger
from .entry import KINDS, Entry
from .prices import ACCOUNTINGS, Prices, prices
from .rival import against_int8

__all__ = ["ACCOUNTINGS", "KINDS", "Entry", "Ledger", "Prices", "against_int8", "ledger", "prices"]
