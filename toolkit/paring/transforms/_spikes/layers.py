"""The modules that a lifted network is made of, beside PyTorch's own, and how they are changed."""

from __future__ import annotations

import torch
from torch import nn

Weighted = nn.Conv1d | nn.Conv2d | nn.Linear
WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
POOLS = (nn.AvgPool1d, nn.AvgPool2d)
RECTIFIERS = (nn.ReLU, nn.Hardtanh)


class Scale(nn.Module):
    """y = scale * x. The buffer `scale` is [] or has a channel's shape, [C, 1, 1] or [C]."""

    scale: torch.Tensor

    def __init__(self, scale: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, ...] -> [B, C, ...]."""
        return x * self.scale


class Affine(nn.Module):
    """y = scale * x + shift for each channel, [C] both: batch norm in inference. Folded away by `folding`."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, scale: torch.Tensor, shift: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.detach().clone())
        self.register_buffer("shift", shift.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, ...] -> [B, C, ...]."""
        rank = x.ndim - 2
        return x * by_channel(self.scale, rank) + by_channel(self.shift, rank)


class ZeroPad(nn.Module):
    """Zeros around an image, (left, right, top, bottom) as PyTorch orders them. Folded away by `folding`."""

    def __init__(self, pad: tuple[int, ...]) -> None:
        super().__init__()
        self.pad = pad

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, ...] -> [B, C, ...]."""
        return nn.functional.pad(x, self.pad)


class MaxPool(nn.Module):
    """Max pooling with a kernel, a stride and a padding for each axis, padded with zeros.

    PyTorch pads with minus infinity, which is the same where the input is not negative. Written anew by
    `max_pool`, since the maximum of spikes is not that of rates.
    """

    def __init__(self, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, C, *smaller]."""
        return nn.functional.max_pool2d(x, self.kernel, self.stride, self.padding)


def by_channel(values: torch.Tensor, rank: int) -> torch.Tensor:
    """[C] -> [C, 1, ...] with `rank` axes behind; a number stays one."""
    return values.reshape(-1, *(1 for _ in range(rank))) if values.ndim else values


def convolution(weight: torch.Tensor, bias: torch.Tensor | None, **how: object) -> nn.Conv1d | nn.Conv2d:
    """A convolution [N, C / groups, *kernel] with given weights. `how`: stride, padding, dilation, groups."""
    kind = nn.Conv2d if weight.ndim == 4 else nn.Conv1d
    groups = how.get("groups", 1)
    assert isinstance(groups, int)
    sizes: dict[str, object] = {"in_channels": weight.shape[1] * groups, "out_channels": weight.shape[0]}
    layer = kind(**sizes, kernel_size=tuple(weight.shape[2:]), bias=bias is not None, **how)  # type: ignore[arg-type]
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None and layer.bias is not None:
            layer.bias.copy_(bias)
    return layer


def linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    """A linear layer [N, K] with given weights."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def like(layer: Weighted, weight: torch.Tensor, bias: torch.Tensor | None) -> Weighted:
    """The same kind of layer with other weights of the same shape."""
    if isinstance(layer, nn.Linear):
        return linear(weight, bias)
    return convolution(
        weight,
        bias,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
    )


def with_inputs_scaled(layer: Weighted, scale: torch.Tensor) -> Weighted:
    """layer(scale * x), `scale` [] or one for each input channel [C], with the scale in the weights."""
    weight = layer.weight.detach()
    if scale.ndim == 0 or isinstance(layer, nn.Linear):
        return like(layer, weight * scale, layer.bias)
    rows = scale.reshape(layer.groups, 1, -1)  # a group's rows read the group's channels
    rows = rows.expand(-1, weight.shape[0] // layer.groups, -1).flatten(0, 1)  # [N, C / groups]
    return like(layer, weight * rows.reshape(*rows.shape, *(1 for _ in weight.shape[2:])), layer.bias)


def with_outputs_scaled(layer: Weighted, scale: torch.Tensor, shift: torch.Tensor) -> Weighted:
    """scale * layer(x) + shift, [C] both."""
    weight = layer.weight.detach() * by_channel(scale, layer.weight.ndim - 1)
    bias = shift if layer.bias is None else layer.bias.detach() * scale + shift
    return like(layer, weight, bias)


def biased(layer: Weighted, change: torch.Tensor) -> None:
    """Add `change` [C] to the bias, in place; without one it gets one."""
    if layer.bias is None:
        layer.bias = nn.Parameter(change.detach().clone())
    else:
        with torch.no_grad():
            layer.bias.add_(change)
