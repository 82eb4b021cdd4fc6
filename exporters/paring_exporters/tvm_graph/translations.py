"""What of an exported program is lowered by us: `custom_convert_map` of TVM's importer.

Weights are constants of the module in the order in which their kernel reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from tvm import relax

from ..tvm.target import threads_of
from .kernels.attention import attention
from .kernels.dense import Dense, dense, padded, panels_of, tiling_for
from .kernels.layer_norm import LayerNorm, layer_norm

Convert = Callable[[Any, Any], Any]


class Lowering:
    """The translations of one program, and what they did, for the manifest."""

    def __init__(self, constants: Mapping[str, torch.Tensor], target: Any) -> None:
        self.constants, self.target = constants, target
        self.threads, self.tiling = threads_of(target), tiling_for(target)
        self._kernels: dict[Any, Any] = {}
        self._packed: dict[Any, Any] = {}

    def table(self) -> dict[str, Convert]:
        """For `custom_convert_map`."""
        return {
            "paring_layer": self.layer,
            "paring_attention": self.attention,
            "layer_norm.default": self.layer_norm,
            "conv2d.default": self.conv2d,
            "linear.default": lambda node, importer: importer._linear(node),
        }

    def facts(self) -> dict[str, Any]:
        """How many kernels of ours the library has, by kind."""
        kinds = [type(key).__name__ for key in self._kernels]
        return {"kernels": {kind: kinds.count(kind) for kind in sorted(set(kinds))}}

    def layer(self, node: Any, importer: Any) -> Any:
        """A fused layer."""
        meaning = node.meta["paring"]
        weight, bias = (*meaning.arguments, None)[:2]
        operands = [importer.env[one] for one in node.args]
        return self._dense(importer, operands, weight, bias, meaning.activation)

    def attention(self, node: Any, importer: Any) -> Any:
        """Fused attention."""
        layer = node.meta["paring"]
        operands = [importer.env[one] for one in node.args]
        kernel = self._kernel(
            importer, "attention", layer, lambda name: attention(name, layer, self.tiling, self.threads)
        )
        shape = [operands[0].ty.shape[0], *layer.operands[-1]]
        return self._call(importer, kernel, operands, shape)

    def layer_norm(self, node: Any, importer: Any) -> Any:
        """Over the last dimension; otherwise as relax does it."""
        x, shape, weight, bias, epsilon, *_ = (*node.args, None, None, 1e-5)[:5]
        value = x.meta["val"]
        known = weight is not None and weight.name in self.constants
        fixed = all(isinstance(size, int) for size in value.shape[1:]) and value.dtype == torch.float32
        if len(shape) != 1 or not known or not fixed:
            return importer._layer_norm(node)
        operand = importer.env[x]
        batch, *middle, width = operand.ty.shape
        norm = LayerNorm(tuple(map(int, middle)), int(width), epsilon, _fixed(batch))
        kernel = self._kernel(
            importer, "layer_norm", norm, lambda name: layer_norm(name, norm, self.threads)
        )
        scale = self._constant(weight.name, "as it is", lambda: self._array(weight))
        shift = (
            relax.const(np.zeros(int(width), np.float32))
            if bias is None
            else self._constant(bias.name, "as it is", lambda: self._array(bias))
        )
        return self._call(importer, kernel, [operand, scale, shift], operand.ty.shape)

    def conv2d(self, node: Any, importer: Any) -> Any:
        """Patches that do not overlap are rows of a linear layer; otherwise as relax does it."""
        x, weight, bias, stride, padding, dilation, groups = _convolution(node)
        height, width = x.meta["val"].shape[2:]
        name = weight.name
        kernel = None if name not in self.constants else list(self.constants[name].shape[2:])
        plain = kernel == stride and not any(padding) and groups == 1 and all(d == 1 for d in dilation)
        fixed = isinstance(height, int) and isinstance(width, int)
        if kernel is None or not plain or not fixed or height % kernel[0] or width % kernel[1]:
            return importer._conv2d(node)
        emit, operand = importer.block_builder.emit, importer.env[x]
        batch, channels, *_ = operand.ty.shape
        rows, columns = height // kernel[0], width // kernel[1]
        split = emit(relax.op.reshape(operand, (batch, channels, rows, kernel[0], columns, kernel[1])))
        turned = emit(relax.op.permute_dims(split, [0, 2, 4, 1, 3, 5]))
        flat = emit(relax.op.reshape(turned, (batch, rows, columns, channels * kernel[0] * kernel[1])))
        made = self._dense(importer, [flat], weight, bias, "")
        return emit(relax.op.permute_dims(made, [0, 3, 1, 2]))

    def _dense(self, importer: Any, operands: list[Any], weight: Any, bias: Any, activation: str) -> Any:
        """A layer in fp32. `weight` is the node of a constant [N, *], `bias` of one [N] or None."""
        rows = self.constants[weight.name]
        outputs = rows.shape[0]
        batch, *middle, width = operands[0].ty.shape
        layer = Dense(
            tuple(map(int, middle)), int(width), outputs, _fixed(batch), activation, len(operands) > 1
        )
        kernel = self._kernel(importer, "dense", layer, lambda name: dense(name, layer, self.tiling))
        panel = self.tiling.panel
        packed = self._constant(
            weight.name, "panels", lambda: panels_of(self._array(weight).reshape(outputs, -1), panel)
        )
        added = self._constant(
            None if bias is None else bias.name,
            f"padded to {outputs}",
            lambda: padded(None if bias is None else self._array(bias), outputs, panel),
        )
        return self._call(
            importer, kernel, [operands[0], packed, added, *operands[1:]], [batch, *middle, outputs]
        )

    def _array(self, node: Any) -> np.ndarray:
        return self.constants[node.name].numpy()

    def _constant(self, name: str | None, form: str, make: Callable[[], np.ndarray]) -> Any:
        """A constant of the module, made once."""
        if (name, form) not in self._packed:
            self._packed[name, form] = relax.const(make())
        return self._packed[name, form]

    def _kernel(self, importer: Any, kind: str, key: Any, make: Callable[[str], Any]) -> Any:
        """A function of the module, made once for each key."""
        if key not in self._kernels:
            name = f"paring_{kind}_{len(self._kernels)}"
            # Opaque: relax neither looks into it nor fuses anything with it.
            importer.block_builder.add_func(make(name).with_attrs({"op_pattern": 8, "paring": True}), name)
            self._kernels[key] = name
        return self._kernels[key]

    def _call(self, importer: Any, kernel: Any, operands: list[Any], shape: Any) -> Any:
        return importer.block_builder.emit(
            relax.call_dps_packed(kernel, operands, out_ty=relax.TensorType(shape, "float32"))
        )


def _fixed(batch: Any) -> int | None:
    """A batch as a number, None where it is open."""
    value = getattr(batch, "value", None)
    return None if value is None else int(value)


def _convolution(node: Any) -> tuple[Any, ...]:
    x, weight, *rest = node.args
    defaults: list[Any] = [None, [1, 1], [0, 0], [1, 1], 1]
    given = [*rest, *defaults[len(rest) :]]
    bias, stride, padding, dilation, groups = given
    return x, weight, bias, list(stride), list(padding), list(dilation), groups
