"""`paring::shift_linear` in ONNX: one node of its own until the graph is clean, then standard operators.

The node stays opaque while optimizers fold constants: folded, the 4-bit weights would be written as fp32.
`lower` then puts standard operators in its place, in one of three flavours:

- "float" (the default): the packed planes as they are, decoded by Gather in a table of 256 rows, times scale,
  MatMul. The file has 4 bits a weight (5 with 5-bit codes), and the result is exact to fp32 rounding in any
  runtime. ONNX Runtime folds the decoding when it loads: in its memory the weights are fp32, and it computes
  as fast as an untransformed model.
- "dequantize": the codes' values as an int8 (5 bits: int16) initializer, DequantizeLinear by channel or in
  blocks, MatMul: 8 or 16 bits a weight, the form that other compilers match. ONNX Runtime's CPU provider
  makes MatMulNBits of 8 bits of the int8 one, whose default accuracy level rounds activations to int8, so
  that its result is near and not exact.
- "integer": DynamicQuantizeLinear, MatMulInteger by the codes' int8 values, times both scales; 4 bits a
  weight in the file, 8 in ONNX Runtime's memory, which fuses it into DynamicQuantizeMatMul and multiplies in
  int8 (VNNI where there is). Activations share one scale a call, so that the samples of a batch touch each
  other. 4-bit codes with scales by tensor or channel only.

Median ms of eight layers between 384 and 1536 features, 2 threads of an AMD EPYC, ONNX Runtime 1.32:

    rows   fp32 MatMul   float   dequantize   integer
       1          0.76    0.72         0.31      0.35
      16          1.29    1.25         0.98      0.63
     197          9.33    9.32         7.62      3.17
      MB          18.9     2.4          4.8       2.4   in the file

"float" is the default because it alone is exact: the other two are for who has measured what they cost.

There is no flavour with an operator of ours in an extension library of ONNX Runtime: it would pay little in
vision transformers. Against ONNX Runtime's own int8 kernel our 4-bit one, both on a CPU with AVX2 and 2
threads, is 1.02 to 1.15 times as fast at the MLPs of 784 and 3136 rows (`tools/bench/shift_kernels.py`), so
that no whole model could gain more over "integer" than these; compiled whole by TVM, a ViT-S is 1.00 to 1.07
times as fast as ONNX Runtime's int8 (`tools/bench/tvm_whole_model.py`). One row alone, as when a language
model decodes, is
another matter: 1.6 times the int8 kernel and 1.9 times MatMulNBits, of a kernel; no whole model has been
measured there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from paring_runtimes.errors import ExportError

DOMAIN, KIND = "paring", "ShiftLinear"
FLAVOURS = ("float", "dequantize", "integer")
BLOCKED_OPSET = 21  # DequantizeLinear in blocks, and of int16


@cache
def operator() -> Any:
    """The opaque node, as onnxscript calls it."""
    from onnx.defs import OpSchema
    from onnxscript.values import Op, Opset

    optional = OpSchema.FormalParameterOption.Optional
    parameter = OpSchema.FormalParameter
    schema = OpSchema(
        KIND,
        DOMAIN,
        1,
        inputs=[
            parameter("x", "T"),
            parameter("nibbles", "tensor(uint8)"),
            parameter("signs", "tensor(uint8)", param_option=optional),
            parameter("scale", "T"),
            parameter("bias", "T", param_option=optional),
        ],
        outputs=[parameter("y", "T")],
        type_constraints=[("T", ["tensor(float)", "tensor(float16)"], "")],
        attributes=[
            OpSchema.Attribute(name, OpSchema.AttrType.INT) for name in ("in_features", "bits", "group")
        ],
    )
    return Op(Opset(DOMAIN, 1), KIND, schema)


def translate(
    x: Any,
    nibbles: Any,
    signs: Any,
    scale: Any,
    bias: Any,
    in_features: int,
    bits: int,
    group: int,
) -> Any:
    """For the translation table."""
    sizes = {"in_features": in_features, "bits": bits, "group": group}
    return operator()(x, nibbles, signs, scale, bias, **sizes)


@dataclass
class Layer:
    """One opaque node, and the nodes that take its place. Values are `onnx_ir.Value`."""

    graph: Any
    node: Any
    shared: dict[str, Any]  # of the whole graph, by name
    nodes: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.x, self.nibbles, self.signs, self.scale, self.bias = (*self.node.inputs, None)[:5]
        self.columns, self.bits, self.group = (
            self.node.attributes[name].as_int() for name in ("in_features", "bits", "group")
        )
        self.rows: int = self.nibbles.shape[0]
        self.name: str = self.node.outputs[0].name

    def op(self, kind: str, *inputs: Any, **attributes: Any) -> Any:
        """One more node; its value."""
        import onnx_ir as ir

        made = ir.node(kind, inputs, attributes=attributes, name=f"{self.name}/{kind}{len(self.nodes)}")
        made.outputs[0].name = made.name
        self.nodes.append(made)
        return made.outputs[0]

    def constant(self, array: np.ndarray, name: str) -> Any:
        """An initializer of the graph, made once for each name."""
        import onnx_ir as ir

        if name not in self.shared:
            tensor = ir.tensor(array, name=name)
            value = ir.Value(
                name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
            )
            self.graph.register_initializer(value)
            self.shared[name] = value
        return self.shared[name]

    def sizes(self, *numbers: int) -> Any:
        """A shape, or axes, as int64."""
        return self.constant(np.array(numbers, np.int64), "shift/" + "x".join(map(str, numbers)))

    def scales(self) -> np.ndarray:
        """The scale's values."""
        found: np.ndarray = self.scale.const_value.numpy()
        return found

    def values(self) -> np.ndarray:
        """The codes' integer values [N, K] int16."""
        import torch

        from paring.transforms._shift.codes import Packed, unpack

        planes = [
            None if plane is None else torch.from_numpy(plane.const_value.numpy().copy())
            for plane in (self.nibbles, self.signs)
        ]
        assert planes[0] is not None
        return unpack(Packed(planes[0], planes[1]), self.columns, self.bits).numpy()

    def unit(self) -> float:
        """What a value of 1 stands for at scale 1."""
        from paring.transforms._shift.codes import unit

        return unit(self.bits)


def lower(model: Any, flavour: str = "float") -> int:
    """Put standard operators in the place of every opaque node of an `onnx_ir.Model`; how many there were.

    Raises:
        ExportError: the flavour cannot express a layer; the message says which and what can.
    """
    import onnx_ir as ir

    make = {"float": _float, "dequantize": _dequantize, "integer": _integer}[flavour]
    shared: dict[str, Any] = {}
    found = list(_opaque(model.graph))
    if not found:
        return 0
    for node in found:
        layer = Layer(model.graph, node, shared)
        y = make(layer, model.opset_imports[""])
        if layer.bias is not None:
            y = layer.op("Add", y, layer.bias)
        ir.convenience.replace_nodes_and_values(model.graph, node, [node], layer.nodes, node.outputs, [y])
    model.opset_imports.pop(DOMAIN, None)
    _drop_unused(model.graph)
    return len(found)


def lowered(model: Any, flavour: str = "float") -> Any:
    """`lower` of a ModelProto; the same object where it has no opaque node."""
    if not any(node.domain == DOMAIN for node in model.graph.node):
        return model
    import onnx_ir as ir

    graph = ir.serde.deserialize_model(model)
    lower(graph, flavour)
    return ir.serde.serialize_model(graph)


def _opaque(graph: Any) -> Iterator[Any]:
    return (node for node in graph if node.domain == DOMAIN and node.op_type == KIND)


def _drop_unused(graph: Any) -> None:
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]


def _float(layer: Layer, opset: int) -> Any:
    scale = layer.scales()
    weight = _decoded(layer, scale.dtype.type)
    if layer.group:
        weight = layer.op("Reshape", weight, layer.sizes(*scale.shape, layer.group))
        weight = layer.op("Mul", weight, layer.constant(scale[..., None], f"{layer.scale.name}.column"))
        weight = layer.op("Reshape", weight, layer.sizes(layer.rows, layer.columns))
    else:
        weight = layer.op("Mul", weight, layer.constant(scale[:, None], f"{layer.scale.name}.column"))
    return layer.op("MatMul", layer.x, layer.op("Transpose", weight, perm=[1, 0]))


def _decoded(layer: Layer, dtype: Any) -> Any:
    """[N, K] in the graph: the codes at scale 1 for a floating `dtype`, their values for int8."""
    unit = layer.unit() if np.issubdtype(dtype, np.floating) else 1
    byte, name = np.arange(256)[:, None], np.dtype(dtype).name
    fields = (byte >> np.array([0, 4])) & 15
    if layer.bits == 4:
        sizes = np.where(fields & 7, 2.0 ** ((fields & 7) - 1.0), 0) * np.where(fields & 8, -1, 1)
        return _looked_up(layer, layer.nibbles, (sizes * unit).astype(dtype), f"shift/codes4.{name}")
    sizes = np.where(fields, 2.0 ** (fields - 1.0), 0) * unit
    signs = 1 - 2 * ((byte >> np.arange(8)) & 1)
    size = _looked_up(layer, layer.nibbles, sizes.astype(dtype), f"shift/codes5.{name}")
    return layer.op("Mul", size, _looked_up(layer, layer.signs, signs.astype(dtype), f"shift/signs.{name}"))


def _looked_up(layer: Layer, plane: Any, table: np.ndarray, name: str) -> Any:
    """Bytes [N, B] through a table [256, F] -> [N, K]."""
    import onnx

    index = layer.op("Cast", plane, to=onnx.TensorProto.INT32)
    fields = layer.op("Gather", layer.constant(table, name), index)
    whole = plane.shape[1] * table.shape[1]
    found = layer.op("Reshape", fields, layer.sizes(layer.rows, whole))
    if whole == layer.columns:
        return found
    return layer.op("Slice", found, layer.sizes(0), layer.sizes(layer.columns), layer.sizes(1))


def _dequantize(layer: Layer, opset: int) -> Any:
    scale = layer.scales()
    if opset < BLOCKED_OPSET and (layer.bits == 5 or layer.group):
        what = "scales by group" if layer.group else "5-bit codes, which are int16"
        raise ExportError(
            f"{layer.name}: DequantizeLinear takes {what} from opset {BLOCKED_OPSET} on, not {opset}: set"
            f" export.opset={BLOCKED_OPSET}, or export.shift=float"
        )
    values = layer.values().T.astype(np.int8 if layer.bits == 4 else np.int16)
    stored = layer.constant(np.ascontiguousarray(values), f"{layer.nibbles.name}.values")
    factor = np.ascontiguousarray(scale.T * np.array(layer.unit(), scale.dtype))
    if layer.group:
        options = {"axis": 0, "block_size": layer.group}
    else:
        options = {"axis": 1} if len(factor) > 1 else {}
        factor = factor if len(factor) > 1 else factor.reshape(())
    scales = layer.constant(factor, f"{layer.scale.name}.units")
    return layer.op("MatMul", layer.x, layer.op("DequantizeLinear", stored, scales, **options))


def _integer(layer: Layer, opset: int) -> Any:
    import onnx
    import onnx_ir as ir

    if layer.bits == 5 or layer.group:
        what = "scales by group" if layer.group else "5-bit codes"
        raise ExportError(
            f"{layer.name}: integer arithmetic takes 4-bit codes with scales by tensor or channel, not {what}"
            ": set export.shift=float, or change shift_linear's bits and scale"
        )
    key = f"shift/{layer.x.name}"
    if key not in layer.shared:  # layers over the same activations quantise them once
        made = ir.node("DynamicQuantizeLinear", [layer.x], num_outputs=3, name=f"{key}/quantized")
        for output, suffix in zip(made.outputs, ("q", "scale", "zero"), strict=True):
            output.name = f"{key}/{suffix}"
        layer.nodes.append(made)
        layer.shared[key] = made.outputs
    x, step, zero = layer.shared[key]
    weight = layer.op("Transpose", _decoded(layer, np.int8), perm=[1, 0])
    total = layer.op("Cast", layer.op("MatMulInteger", x, weight, zero), to=onnx.TensorProto.FLOAT)
    factor = layer.constant(layer.scales() * np.float32(layer.unit()), f"{layer.scale.name}.units")
    return layer.op("Mul", total, layer.op("Mul", step, factor))
