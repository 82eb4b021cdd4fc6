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
        folded = _transposed(source, node.attributes["perm"].as_ints())
        model.graph.register_initializer(folded)
        ir.convenience.replace_all_uses_with(node.outputs[0], folded)
        model.graph.remove(node, safe=True)
        if not source.uses():
            model.graph.initializers.pop(source.name)


def _transposed(source: Any, perm: Any) -> Any:
    import onnx_ir as ir

    weight, name = source.const_value, f"{source.name}.transposed"
    shape = ir.Shape([weight.shape[axis] for axis in perm])
    folded = ir.Value(name=name, shape=shape, type=ir.TensorType(weight.dtype))

    def compute() -> Any:
        return ir.tensor(weight.numpy().transpose(perm).copy(), name=name)

    folded.const_value = ir.LazyTensor(compute, dtype=weight.dtype, shape=shape, name=name)
    return folded


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
