"""Infinities and NaNs in what two models computed."""

from __future__ import annotations

import numpy as np


def first_non_finite(expected: np.ndarray, actual: np.ndarray) -> str:
    """Where the arrays, of one shape, first disagree by a value that is not finite; "" when nowhere.

    Two equal infinities agree, two NaNs do not.
    """
    wrong = ~(np.isfinite(expected) & np.isfinite(actual)) & (expected != actual)
    if not wrong.any():
        return ""
    place = tuple(int(index) for index in np.argwhere(wrong)[0])
    found, wanted = float(actual[place]), float(expected[place])
    count = f", the first of {int(wrong.sum())}" if wrong.sum() > 1 else ""
    return f"{found:g} at {list(place)} where PyTorch has {wanted:g}{count}"
