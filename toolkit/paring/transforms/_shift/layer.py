"""Linear layers whose weights are packed power-of-two codes, and convolutions that are such layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .codes import pack
from .op import shift_linear, weight_of
from .scales import Term, terms_of


@dataclass(frozen=True)
class Form:
    """How weights are coded.

    Attributes:
        bits: 4 or 5.
        granularity: of the scales: tensor, channel (a row) or group.
        group: weights that share a scale, where they are by group.
        terms: matrices of codes that are summed, 1 or 2.
        fit: "error", the scale of least squared error, or "largest", by the largest weight.
    """

    bits: int = 4
    granularity: str = "channel"
    group: int = 0
    terms: int = 1
    fit: str = "error"


class PackedTerm(nn.Module):
    """One matrix of codes in bytes: buffers `nibbles`, `signs` (5 bits) and `scale`; see `codes`."""

    nibbles: torch.Tensor
    signs: torch.Tensor | None
    scale: torch.Tensor

    def __init__(self, term: Term, bits: int) -> None:
        super().__init__()
        packed = pack(term.values, bits)
        self.in_features, self.bits = term.values.shape[1], bits
        self.group = self.in_features // term.scale.shape[1] if term.scale.ndim == 2 else 0
        self.register_buffer("nibbles", packed.nibbles)
        self.register_buffer("signs", packed.signs)
        self.register_buffer("scale", term.scale)

    @property
    def weight(self) -> torch.Tensor:
        """[N, K] decoded, in the dtype of the scale."""
        return weight_of(self.nibbles, self.signs, self.scale, self.in_features, self.bits)

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """[..., K] -> [..., N]."""
        return shift_linear(
            x, self.nibbles, self.signs, self.scale, bias, self.in_features, self.bits, self.group
        )


class ShiftLinear(nn.Module):
    """y = x W^T + bias, W a sum of one or two matrices of power-of-two codes.

    The state dict holds the packed planes and scales, so that a weight of one 4-bit term takes 4 bits on
    disk and in memory; the decoded weights live for the length of a call.
    """

    def __init__(self, terms: tuple[Term, ...], bits: int, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = terms[0].values.shape
        self.bits = bits
        self.terms = nn.ModuleList(PackedTerm(term, bits) for term in terms)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    @classmethod
    def from_linear(cls, linear: nn.Linear, form: Form) -> ShiftLinear:
        """The nearest layer of the form. The scales are searched for the least squared error."""
        return cls(_coded(linear.weight, form), form.bits, linear.bias)

    @property
    def weight(self) -> torch.Tensor:
        """[N, K] decoded, for what reads a layer's weights; made anew at each call."""
        return sum_of([term.weight for term in self.packed()])

    def packed(self) -> list[PackedTerm]:
        """The terms, with their type."""
        return [term for term in self.terms if isinstance(term, PackedTerm)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., K] -> [..., N]."""
        first, *rest = self.packed()
        y: torch.Tensor = first(x, self.bias)
        for term in rest:
            y = y + term(x, None)
        return y

    def extra_repr(self) -> str:
        """What `print` shows."""
        terms = f", terms={len(self.terms)}" if len(self.terms) > 1 else ""
        return f"in_features={self.in_features}, out_features={self.out_features}, bits={self.bits}{terms}"


class Patchwise(nn.Module):
    """A convolution without overlap as a linear layer over patches: kernel == stride, no padding.

    [B, C, *sizes] -> [B, N, *(sizes // kernel)]; what is left over at the far edges is not seen, as in the
    convolution.
    """

    def __init__(self, linear: nn.Module, kernel: tuple[int, ...]) -> None:
        super().__init__()
        self.linear = linear
        self.kernel_size = self.stride = kernel

    @property
    def weight(self) -> Any:
        """[N, C, *kernel] decoded."""
        flat: Any = self.linear.weight
        return flat.reshape(flat.shape[0], -1, *self.kernel_size)

    @property
    def bias(self) -> Any:
        """[N] or None."""
        return self.linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.linear(patches(x, self.kernel_size)).movedim(-1, 1)


def patches(x: torch.Tensor, kernel: tuple[int, ...]) -> torch.Tensor:
    """[B, C, *sizes] -> [B, *(sizes // kernel), C * kernel's volume], in the order of a kernel's weights."""
    counts = [size // edge for size, edge in zip(x.shape[2:], kernel, strict=True)]
    for axis, (count, edge) in enumerate(zip(counts, kernel, strict=True), start=2):
        if isinstance(x.shape[axis], int) and x.shape[axis] != count * edge:
            x = x.narrow(axis, 0, count * edge)
    split = [number for pair in zip(counts, kernel, strict=True) for number in pair]
    x = x.reshape(*x.shape[:2], *split)
    axes = range(2, 2 + len(split))
    return x.permute(0, *axes[::2], 1, *axes[1::2]).flatten(1 + len(counts))


def is_patchwise(layer: nn.Module) -> bool:
    """Whether a convolution sees each input once: kernel == stride, no padding, dilation or groups."""
    if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return False
    padded = layer.padding == "same" or (layer.padding != "valid" and any(layer.padding))
    plain = layer.groups == 1 and all(step == 1 for step in layer.dilation)
    return plain and not padded and tuple(layer.kernel_size) == tuple(layer.stride)


def shifted(layer: nn.Module, form: Form) -> nn.Module:
    """A linear layer, or a convolution that `is_patchwise`, with power-of-two weights.

    Raises:
        ValueError: it is neither, or the form's group does not divide a row.
    """
    if isinstance(layer, nn.Linear):
        return ShiftLinear.from_linear(layer, form).train(layer.training)
    if not is_patchwise(layer):
        raise ValueError(
            f"{type(layer).__name__} is no linear layer, nor a convolution with kernel == stride"
        )
    assert isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    rows = layer.weight.detach().flatten(1)
    linear = ShiftLinear(_coded(rows, form), form.bits, layer.bias)
    return Patchwise(linear, tuple(layer.kernel_size)).train(layer.training)


def sum_of(parts: list[torch.Tensor]) -> torch.Tensor:
    """The sum of at least one tensor."""
    first, *rest = parts
    for part in rest:
        first = first + part
    return first


def _coded(weight: torch.Tensor, form: Form) -> tuple[Term, ...]:
    return terms_of(weight, form.bits, form.granularity, form.group, form.terms, form.fit)
