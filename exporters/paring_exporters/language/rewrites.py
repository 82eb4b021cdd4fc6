"""What a decoder's graph still needs after torch's exporter. All work on an `onnx_ir.Model`, in place."""

from __future__ import annotations

from typing import Any


def tidy(model: Any) -> None:
    """Fold weights' transposes, drop outputs that nobody reads, and what tells of the exporting machine."""
    _fold_transposes(model)
    for node in model.graph:
        if node.op_type == "Attention":
            _drop_unread_outputs(node)
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.metadata_props.clear()
        _name_sums(value)
    model.graph.metadata_props.clear()
    model.metadata_props.clear()


def _fold_transposes(model: Any) -> None:
    """Store a linear layer's weight [out, in] as the [in, out] that MatMul reads."""
    import onnx_ir as ir

    for node in list(model.graph):
        (source,) = node.inputs if node.op_type == "Transpose" else (None,)
        if source is None or source.const_value is None or not source.is_initializer():
            continue
        perm = node.attributes["perm"].as_ints()
        weight = source.const_value
        shape = [weight.shape[axis] for axis in perm]
        folded = ir.Value(
            name=f"{source.name}.transposed", shape=ir.Shape(shape), type=ir.TensorType(weight.dtype)
        )
        folded.const_value = ir.LazyTensor(
            lambda weight=weight, perm=perm, name=folded.name: ir.tensor(
                weight.numpy().transpose(perm).copy(), name=name
            ),
            dtype=weight.dtype,
            shape=folded.shape,
            name=folded.name,
        )
        model.graph.register_initializer(folded)
        ir.convenience.replace_all_uses_with(node.outputs[0], folded)
        model.graph.remove(node, safe=True)
        if not source.uses():
            model.graph.initializers.pop(source.name)


def _drop_unread_outputs(node: Any) -> None:
    """Attention computes its optional outputs when they have names."""
    read = [index for index, value in enumerate(node.outputs) if value.uses() or value.is_graph_output()]
    node.resize_outputs(max(read) + 1)


def _name_sums(value: Any) -> None:
    """One name for a length that torch writes in either order."""
    import onnx_ir as ir

    sizes = list(value.shape)
    named = [
        " + ".join(sorted(str(size.value).split(" + "))) if isinstance(size, ir.SymbolicDim) else size
        for size in sizes
    ]
    value.shape = ir.Shape(named)
