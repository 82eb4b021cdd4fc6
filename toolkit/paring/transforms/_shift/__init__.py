"""Linear layers with power-of-two weights: codes, layers, their training and their choice.

`trainable(model)` and `frozen(model)` are the pair by which recovery trains what a transform made: the first
gives the model with its parts in a form that takes gradients, the second gives it back as it exports. A
transform whose layers need such a form offers the pair under these names.
"""

from __future__ import annotations

from .layer import Form, Patchwise, ShiftLinear, shifted
from .op import shift_linear
from .training import TrainableShiftLinear, frozen, trainable

__all__ = [
    "Form",
    "Patchwise",
    "ShiftLinear",
    "TrainableShiftLinear",
    "frozen",
    "shift_linear",
    "shifted",
    "trainable",
]
