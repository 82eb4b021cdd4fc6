"""Operators without sums of products: how many multiplications and additions an element takes.

A comparison counts as an addition, a division as a multiplication; exponentials and error functions as
polynomials of degree 5. What only moves data is free of operations.
"""

from __future__ import annotations

_POLYNOMIAL = (5, 5)

# (multiplications, additions) for each element of the largest of inputs and outputs.
SIMPLE: dict[str, tuple[int, int]] = {
    "Abs": (0, 1),
    "Add": (0, 1),
    "Clip": (0, 2),
    "Div": (1, 0),
    "Erf": _POLYNOMIAL,
    "Exp": _POLYNOMIAL,
    "GlobalAveragePool": (0, 1),
    "AveragePool": (0, 1),
    "MaxPool": (0, 1),
    "Gelu": (_POLYNOMIAL[0] + 3, _POLYNOMIAL[1] + 1),
    "Greater": (0, 1),
    "GreaterOrEqual": (0, 1),
    "LayerNormalization": (3, 4),
    "Less": (0, 1),
    "LpNormalization": (2, 1),
    "Max": (0, 1),
    "Min": (0, 1),
    "Mul": (1, 0),
    "Neg": (0, 1),
    "Pow": (1, 0),
    "QuickGelu": (_POLYNOMIAL[0] + 2, _POLYNOMIAL[1] + 1),
    "RMSNormalization": (3, 1),
    "Reciprocal": (1, 0),
    "ReduceL2": (1, 1),
    "ReduceMax": (0, 1),
    "ReduceMean": (0, 1),
    "ReduceSum": (0, 1),
    "ReduceSumSquare": (1, 1),
    "Relu": (0, 1),
    "Sigmoid": (_POLYNOMIAL[0] + 1, _POLYNOMIAL[1] + 1),
    "SimplifiedLayerNormalization": (3, 1),
    "SkipLayerNormalization": (3, 5),
    "Softmax": (_POLYNOMIAL[0] + 1, _POLYNOMIAL[1] + 3),
    "Sqrt": (1, 0),
    "Sub": (0, 1),
    "Tanh": (_POLYNOMIAL[0] + 1, _POLYNOMIAL[1] + 2),
}
