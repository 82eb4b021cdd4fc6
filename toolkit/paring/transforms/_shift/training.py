"""Training through power-of-two codes by a straight-through estimator.

DeepShift-Q (https://arxiv.org/abs/1905.13298): a latent float weight L is rounded to its code in each forward
pass, W = code(L), and the gradient passes as if it were not: dL/dL = dL/dW. The codes' scales stay as they
were fitted, so that only exponents, signs and zeros move. (DeepShift-PS, which trains sign and exponent as
floats of their own, cannot leave zero by its sign's gradient and is not offered.)
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .codes import decode, encode
from .layer import ShiftLinear, sum_of
from .scales import Term
from .surgery import replaced


class TrainableShiftLinear(nn.Module):
    """A `ShiftLinear` with a latent weight [N, K]. Its output is that of the layer it freezes to."""

    def __init__(self, layer: ShiftLinear, latent: torch.Tensor | None = None) -> None:
        """`latent`: where training starts, by default the decoded weights; the float original is better."""
        super().__init__()
        start = layer.weight if latent is None else latent
        self.latent = nn.Parameter(start.detach().clone().to(layer.packed()[0].scale.dtype))
        self.bias = layer.bias
        self.in_features, self.out_features, self.bits = layer.in_features, layer.out_features, layer.bits
        self.count = len(layer.terms)
        for index, term in enumerate(layer.packed()):
            self.register_buffer(f"scale{index}", term.scale)

    def codes(self) -> tuple[Term, ...]:
        """The terms that the latent weight stands for now."""
        found: list[Term] = []
        left = self.latent.detach()
        for index in range(self.count):
            scale = self.get_buffer(f"scale{index}")
            values = encode(left, scale, self.bits, flush=True)
            found.append(Term(values, scale))
            left = left - decode(values, scale, self.bits)
        return tuple(found)

    @property
    def weight(self) -> torch.Tensor:
        """[N, K] of the codes; its gradient goes to the latent weight unchanged."""
        decoded = sum_of([decode(term.values, term.scale, self.bits) for term in self.codes()])
        return decoded + (self.latent - self.latent.detach())  # plus zero

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., K] -> [..., N]."""
        return functional.linear(x, self.weight.to(x.dtype), self.bias)

    def freeze(self) -> ShiftLinear:
        """The packed layer of the codes as they are now."""
        return ShiftLinear(self.codes(), self.bits, self.bias).train(self.training)


def trainable(model: nn.Module, original: nn.Module | None = None) -> nn.Module:
    """Replace each `ShiftLinear` by its trainable form, in place.

    Args:
        model: whatever holds shift layers.
        original: the model before the transform, opened the same way (_opening.canonical). Where
            it has a layer at the same path and of the same shape, training starts at that layer's weights.
    """
    floats = {} if original is None else dict(original.named_modules())

    def made(path: str, layer: nn.Module) -> nn.Module:
        assert isinstance(layer, ShiftLinear)
        weight = getattr(floats.get(path.removesuffix(".linear")), "weight", None)
        fits = isinstance(weight, torch.Tensor) and weight.numel() == layer.in_features * layer.out_features
        latent = weight.reshape(layer.out_features, -1) if fits and weight is not None else None
        return TrainableShiftLinear(layer, latent).train(layer.training)

    return replaced(model, lambda path, module: isinstance(module, ShiftLinear), made)


def frozen(model: nn.Module) -> nn.Module:
    """Replace each trainable form by its `ShiftLinear`, in place. The outputs stay the same."""

    def made(path: str, layer: nn.Module) -> nn.Module:
        assert isinstance(layer, TrainableShiftLinear)
        return layer.freeze()

    return replaced(model, lambda path, module: isinstance(module, TrainableShiftLinear), made)
