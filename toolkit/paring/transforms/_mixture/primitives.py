"""What an expert can be, by name: how it is made of a linear layer, and what it costs where not measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from .._shift import Form, ShiftLinear


@dataclass(frozen=True)
class Primitive:
    """One kind of expert.

    Attributes:
        build: nn.Linear -> a module [..., K] -> [..., N] that approximates it. The layer is not changed; the
            module may hold it.
        cost: relative latency where none was measured. Linear 6 and shift 4 are the constants of
            ShiftAddViT's code; what has no figure there gets one of these.
    """

    build: Callable[[nn.Linear], nn.Module]
    cost: float


def shifting(form: Form) -> Callable[[nn.Linear], nn.Module]:
    """A builder of shift layers of one form."""
    return lambda linear: ShiftLinear.from_linear(linear, form).train(linear.training)


# A new primitive is one more entry.
PRIMITIVES: dict[str, Primitive] = {
    "linear": Primitive(lambda linear: linear, 6.0),
    "shift": Primitive(shifting(Form(bits=4)), 4.0),
    "shift5": Primitive(shifting(Form(bits=5)), 4.0),
    "shift_pair": Primitive(shifting(Form(bits=4, terms=2)), 6.0),
}
