"""What of an exported program is lowered by us: `custom_convert_map` of TVM's importer.

Weights are constants of the module in the order in which their kernel reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from tvm import relax

from paring.transforms._shift.op import weight_of

from ..tvm.shift_linear import tile_for
from ..tvm.shift_linear import untuned as untuned_shift
from ..tvm.shift_problem import ShiftShape
from ..tvm.shift_weights import kernel_weights
from ..tvm.target import threads_of
from . import paring_ops
from .choosing import Choice, choose_layer
from .kernels.attention import Attention, attention
from .kernels.dense import Dense, Tiling, dense, padded, panels_of, tiling_for
from .kernels.layer_norm import LayerNorm, layer_norm
from .kernels.shift import float_layer, integer_layer, paired, quantise, words_of
from .tuning import Tuner, untuned

Convert = Callable[[Any, Any], Any]


class Lowering:
    """The translations of one program, and what they did, for the manifest."""

    def __init__(
        self,
        constants: Mapping[str, torch.Tensor],
        target: Any,
        integer: bool = True,
        timed: bool = True,
        tuner: Tuner | None = None,
    ) -> None:
        """Set out to translate.

        Args:
            constants: of the program, by the name of their node.
            target: of TVM.
            integer: whether shift layers may round activations to 8 bits.
            timed: whether kernels can be timed here, which needs the target's CPU.
            tuner: finds the tilings of linear layers and attention; without one they are the target's.
        """
        self.constants, self.target, self.integer, self.timed = constants, target, integer, timed
        self.threads, self.tiling, self._tuner = threads_of(target), tiling_for(target), tuner
        self._kernels: dict[Any, Any] = {}
        self._packed: dict[Any, Any] = {}
        self._notes: dict[str, None] = {}
        self._quantised: dict[Any, Any] = {}
        self._choices: dict[Dense, Choice] = {}
        self._layers: list[tuple[Dense, str]] = []  # shift layers, with the kernel of each

    def table(self) -> dict[str, Convert]:
        """For `custom_convert_map`."""
        return {
            "paring_layer": self.layer,
            "paring_attention": self.attention,
            "layer_norm.default": self.layer_norm,
            "conv2d.default": self.conv2d,
            **{name: partial(convert, self) for name, convert in paring_ops.TABLE.items()},
        }

    def note(self, text: str) -> None:
        """Something that the user should read, said once."""
        self._notes.setdefault(text)

    def facts(self) -> dict[str, Any]:
        """How many kernels of ours the library has, by kind; and of shift layers which kernel was chosen."""
        kinds = [kind for kind, _ in self._kernels]
        found: dict[str, Any] = {"kernels": {kind: kinds.count(kind) for kind in sorted(set(kinds))}}
        if self._tuner is not None:
            found["tuning"] = self._tuner.facts()
        if self._layers:
            ways = [way for _, way in self._layers]
            found["shift"] = {
                "terms": len(ways),
                "flavour": "integer_rows" if "integer" in ways else "float",
                "kernels": {way: ways.count(way) for way in sorted(set(ways))},
                "choices": [choice.as_dict() for choice in self._choices.values()],
            }
            notes = [choice.note() for choice in self._choices.values() if choice.note()]
            if "decoded" in ways:
                notes.append(
                    f"tvm: {ways.count('decoded')} shift layers are written in fp32: packed kernels take"
                    " 4-bit codes with scales by tensor or channel"
                )
            for note in notes:
                self.note(note)
        return {**found, "notes": list(self._notes)} if self._notes else found

    def layer(self, node: Any, importer: Any) -> Any:
        """A fused layer."""
        meaning = node.meta["paring"]
        weight, bias = (*meaning.arguments, None)[:2]
        operands = [importer.env[one] for one in node.args]
        if meaning.operator is torch.ops.paring.shift_linear.default:
            return self._shift(importer, operands, meaning)
        return self._dense(importer, operands, weight, bias, meaning.activation)

    def _shift(self, importer: Any, operands: list[Any], meaning: Any) -> Any:
        """A shift layer, packed where it can be."""
        nibbles, signs, scale, bias, inputs, bits, group = meaning.arguments
        layer = _layer(operands, self.constants[nibbles.name].shape[0], meaning.activation)
        if bits != 4 or group:
            self._layers.append((layer, "decoded"))
            plane = None if signs is None else self.constants[signs.name]
            coded, steps = (self.constants[one.name] for one in (nibbles, scale))
            weight = weight_of(coded, plane, steps, inputs, bits)
            return self._dense(importer, operands, nibbles, bias, meaning.activation, weight)
        if layer not in self._choices:
            self._choices[layer] = choose_layer(layer, self.target, self.integer, self.timed)
        way = self._choices[layer].kernel
        self._layers.append((layer, way))
        names = (nibbles.name, scale.name, None if bias is None else bias.name)
        write = self._integer if way == "integer" else self._float
        return write(importer, operands, layer, names)

    def _integer(self, importer: Any, operands: list[Any], layer: Dense, names: tuple[Any, ...]) -> Any:
        tile = tile_for(
            self.target, ShiftShape(1, layer.in_features, layer.out_features), untuned_shift(self.target)
        )
        packed = kernel_weights(*self._planes(names), layer.in_features, tile.order)
        values = [
            self._constant(names[0], form, lambda form=form: getattr(packed, form))  # type: ignore[misc]
            for form in ("weight", "scale", "bias")
        ]
        kernel = self.kernel(importer, "integer", layer, lambda name: integer_layer(name, layer, tile))
        rows = self._rounded(importer, operands[0], layer)
        return self.call(importer, kernel, [*rows, *values, *operands[1:]], _shape(operands[0], layer))

    def _rounded(self, importer: Any, x: Any, layer: Dense) -> list[Any]:
        """x as int8 with a scale and a sum a row, made once for all layers that read it."""
        if x not in self._quantised:
            plain = replace(layer, out_features=1, activation="", residual=False)
            kernel = self.kernel(
                importer, "quantise", plain, lambda name: quantise(name, plain, self.threads)
            )
            lead = list(x.ty.shape)[:-1]
            kinds = [
                relax.TensorType([*lead, words_of(layer.in_features)], "int32"),
                relax.TensorType([*lead, 1], "float32"),
                relax.TensorType([*lead, 1], "int32"),
            ]
            emit = importer.block_builder.emit
            made = emit(relax.call_dps_packed(kernel, [x], out_ty=kinds))
            self._quantised[x] = [emit(relax.TupleGetItem(made, i)) for i in range(3)]
        return self._quantised[x]

    def _float(self, importer: Any, operands: list[Any], layer: Dense, names: tuple[Any, ...]) -> Any:
        nibbles, _, scale, bias = self._planes(names)
        outputs, panel = layer.out_features, self.tiling.panel
        values = [
            self._constant(names[0], "paired", lambda: paired(nibbles, layer.in_features, panel)),
            self._constant(
                names[0], "scales", lambda: padded(np.broadcast_to(scale, (outputs,)), outputs, panel)
            ),
            self._constant(names[0], "biases", lambda: padded(bias, outputs, panel)),
        ]
        kernel = self.kernel(importer, "float", layer, lambda name: float_layer(name, layer, self.tiling))
        return self.call(importer, kernel, [operands[0], *values, *operands[1:]], _shape(operands[0], layer))

    def _planes(self, names: tuple[Any, ...]) -> tuple[Any, None, Any, Any]:
        nibbles, scale = (self.constants[name].numpy() for name in names[:2])
        return nibbles, None, scale, None if names[2] is None else self.constants[names[2]].numpy()

    def attention(self, node: Any, importer: Any) -> Any:
        """Fused attention."""
        layer = node.meta["paring"]
        operands, tiling = [importer.env[one] for one in node.args], self._tiling(layer)
        kernel = self.kernel(
            importer, "attention", layer, lambda name: attention(name, layer, tiling, self.threads)
        )
        shape = [operands[0].ty.shape[0], *layer.operands[-1]]
        return self.call(importer, kernel, operands, shape)

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
        kernel = self.kernel(importer, "layer_norm", norm, lambda name: layer_norm(name, norm, self.threads))
        scale = self._constant(weight.name, "as it is", lambda: self._array(weight))
        shift = (
            relax.const(np.zeros(int(width), np.float32))
            if bias is None
            else self._constant(bias.name, "as it is", lambda: self._array(bias))
        )
        return self.call(importer, kernel, [operand, scale, shift], operand.ty.shape)

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

    def _dense(
        self,
        importer: Any,
        operands: list[Any],
        weight: Any,
        bias: Any,
        activation: str,
        values: torch.Tensor | None = None,
    ) -> Any:
        """A layer in fp32. `weight` is the node of a constant [N, *] (or of `values`), `bias` of one [N]."""
        rows = self.constants[weight.name] if values is None else values
        outputs = rows.shape[0]
        layer = _layer(operands, outputs, activation)
        tiling = self._tiling(layer)
        kernel = self.kernel(importer, "dense", layer, lambda name: dense(name, layer, tiling, self.threads))
        panel = tiling.panel
        packed = self._constant(
            weight.name, f"panels of {panel}", lambda: panels_of(rows.reshape(outputs, -1).numpy(), panel)
        )
        added = self._constant(
            None if bias is None else bias.name,
            f"padded to {outputs} by {panel}",
            lambda: padded(None if bias is None else self._array(bias), outputs, panel),
        )
        return self.call(
            importer, kernel, [operands[0], packed, added, *operands[1:]], _shape(operands[0], layer)
        )

    def _tiling(self, layer: Dense | Attention) -> Tiling:
        return untuned(layer, self.target) if self._tuner is None else self._tuner.tiling(layer)

    def _array(self, node: Any) -> np.ndarray:
        return self.constants[node.name].numpy()

    def _constant(self, name: str | None, form: str, make: Callable[[], np.ndarray]) -> Any:
        """A constant of the module, made once."""
        if (name, form) not in self._packed:
            self._packed[name, form] = relax.const(make())
        return self._packed[name, form]

    def kernel(self, importer: Any, kind: str, key: Any, make: Callable[[str], Any]) -> Any:
        """A function of the module, made once for each key."""
        key = (kind, key)
        if key not in self._kernels:
            name = f"paring_{kind}_{len(self._kernels)}"
            # Opaque: relax neither looks into it nor fuses anything with it.
            importer.block_builder.add_func(make(name).with_attrs({"op_pattern": 8, "paring": True}), name)
            self._kernels[key] = name
        return self._kernels[key]

    def call(self, importer: Any, kernel: Any, operands: list[Any], shape: Any) -> Any:
        """Call a kernel whose one output, of fp32, comes last."""
        return importer.block_builder.emit(
            relax.call_dps_packed(kernel, operands, out_ty=relax.TensorType(shape, "float32"))
        )


def _layer(operands: list[Any], outputs: int, activation: str) -> Dense:
    batch, *middle, width = operands[0].ty.shape
    extents = tuple(int(size) for size in middle)
    return Dense(extents, int(width), outputs, _fixed(batch), activation, len(operands) > 1)


def _shape(x: Any, layer: Dense) -> list[Any]:
    return [*list(x.ty.shape)[:-1], layer.out_features]


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
