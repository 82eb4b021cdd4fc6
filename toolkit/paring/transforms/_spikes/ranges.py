"""What a `Config` that was built in Python holds beyond its ranges; and weights that are no numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from torch import nn


def not_finite(model: nn.Module) -> list[str]:
    """A line for each tensor of a model with values that are not finite."""
    return [
        f"{path} holds values that are not finite"
        for path, values in model.state_dict().items()
        if values.is_floating_point() and not values.isfinite().all()
    ]


def out_of_range(config: Any) -> list[str]:
    """A line for each field; a recipe is checked before."""
    found = []
    for item in fields(config):
        value, told = getattr(config, item.name), item.metadata
        low, high = told.get("minimum"), told.get("maximum")
        numbers: Sequence[Any] = value if isinstance(value, tuple) else [] if value is None else [value]
        if low is not None and any(not low <= number for number in numbers):
            found.append(f"{item.name}: {value}, expected at least {low}")
        elif high is not None and any(not number <= high for number in numbers):
            found.append(f"{item.name}: {value}, expected at most {high}")
        elif "choices" in told and value not in told["choices"]:
            found.append(f"{item.name}: {value!r}, expected one of {', '.join(told['choices'])}")
    return found
