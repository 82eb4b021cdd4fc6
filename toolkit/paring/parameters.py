"""How many weights a model has, in whatever form they are stored."""

from __future__ import annotations

from torch import nn

from .transforms._shift import ShiftLinear


def parameter_count(model: nn.Module) -> int:
    """Elements of the parameters, and of the weights that shift layers hold as packed codes.

    A weight that is the sum of two codes is one.
    """
    packed = sum(
        layer.in_features * layer.out_features for layer in model.modules() if isinstance(layer, ShiftLinear)
    )
    return packed + sum(parameter.numel() for parameter in model.parameters())
