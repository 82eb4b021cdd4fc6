"""Every number here is worked out by hand in the test's own line."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from paring_profiles import macs
from paring_profiles.mac_formulas import FORMULAS, Node
from paring_runtimes.errors import ArtifactError, EngineError


def w(*shape: int) -> np.ndarray:
    return np.full(shape, 0.1, np.float32)


def node(op: str, inputs: str, outputs: str = "y", domain: str = "", **attributes):
    names = [n if n != "_" else "" for n in inputs.split()]
    return helper.make_node(op, names, outputs.split(), domain=domain, **attributes)


MS = "com.microsoft"
CASES = {
    # name: (node, inputs, weights, opset, macs)
    "matmul": (node("MatMul", "x w"), {"x": [2, 5, 3]}, {"w": w(3, 4)}, 20, 2 * 5 * 4 * 3),
    "matmul of batches": (
        node("MatMul", "x z"), {"x": [2, 7, 5, 3], "z": [2, 7, 3, 6]}, {}, 20, 2 * 7 * 5 * 6 * 3,
    ),
    "matmul broadcast": (
        node("MatMul", "x z"), {"x": [5, 3], "z": [4, 3, 2]}, {}, 20, 4 * 5 * 2 * 3,
    ),
    "matmul of vectors": (node("MatMul", "x z"), {"x": [3], "z": [3]}, {}, 20, 3),
    "gemm": (node("Gemm", "x w b"), {"x": [2, 3]}, {"w": w(3, 4), "b": w(4)}, 20, 2 * 4 * 3),
    "gemm transposed": (
        node("Gemm", "x w", transA=1, transB=1), {"x": [3, 2]}, {"w": w(4, 3)}, 20, 2 * 4 * 3,
    ),
    # 8x8 by a 3x3 kernel with stride 2, no padding: 3x3 places, 6 channels out, 4 in
    "conv": (
        node("Conv", "x w", strides=[2, 2]), {"x": [2, 4, 8, 8]}, {"w": w(6, 4, 3, 3)}, 20,
        2 * 6 * 3 * 3 * 4 * 9,
    ),
    "conv in groups": (
        node("Conv", "x w", group=2), {"x": [1, 4, 5, 5]}, {"w": w(6, 2, 3, 3)}, 20, 6 * 9 * 2 * 9,
    ),
    "conv depthwise 1d": (
        node("Conv", "x w", group=4), {"x": [1, 4, 10]}, {"w": w(4, 1, 3)}, 20, 4 * 8 * 3,
    ),
    # every one of 4 x 5 x 5 inputs is multiplied with 3 x 2 x 2 weights
    "conv transpose": (
        node("ConvTranspose", "x w", strides=[2, 2]), {"x": [1, 4, 5, 5]}, {"w": w(4, 3, 2, 2)}, 20,
        4 * 25 * 12,
    ),
    "einsum": (
        node("Einsum", "x z", equation="bhqd,bhkd->bhqk"), {"x": [2, 3, 5, 4], "z": [2, 3, 7, 4]},
        {}, 20, 2 * 3 * 5 * 7 * 4,
    ),
    "einsum with an ellipsis": (
        node("Einsum", "x w", equation="...i, ij -> ...j"), {"x": [2, 5, 3]}, {"w": w(3, 4)}, 20,
        2 * 5 * 3 * 4,
    ),
    "einsum of one operand": (
        node("Einsum", "x", equation="ij->ji"), {"x": [2, 3]}, {}, 20, 0,
    ),
    # 4 heads of width 8, values of width 6: 2 x 4 x 5 x 7 x (8 + 6)
    "attention 4d": (
        node("Attention", "q k v"),
        {"q": [2, 4, 5, 8], "k": [2, 4, 7, 8], "v": [2, 4, 7, 6]}, {}, 23, 2 * 4 * 5 * 7 * 14,
    ),
    "attention 3d": (
        node("Attention", "q k v", q_num_heads=4, kv_num_heads=2),
        {"q": [2, 5, 32], "k": [2, 7, 16], "v": [2, 7, 16]}, {}, 23, 2 * 4 * 5 * 7 * 16,
    ),
    "lstm": (  # 6 steps, batch 2, 4 gates of 3, input 5
        node("LSTM", "x w r", hidden_size=3), {"x": [6, 2, 5]},
        {"w": w(1, 12, 5), "r": w(1, 12, 3)}, 20, 6 * 2 * (12 * 5 + 12 * 3),
    ),
    "fused matmul": (
        node("FusedMatMul", "x w", domain=MS, transA=1), {"x": [3, 5]}, {"w": w(3, 4)}, 20,
        5 * 4 * 3,
    ),
    "fused conv": (
        node("FusedConv", "x w", domain=MS, activation="Relu"), {"x": [1, 4, 5, 5]},
        {"w": w(6, 4, 3, 3)}, 20, 6 * 9 * 36,
    ),
    # x by its weights, 2 x 5 x 8 x 24, then two products of 5 x 5 x 8
    "packed attention": (
        node("Attention", "x w b", domain=MS, num_heads=2), {"x": [2, 5, 8]},
        {"w": w(8, 24), "b": w(24)}, 20, 2 * 5 * 8 * 24 + 2 * 2 * 5 * 5 * 8,
    ),
    "multi-head attention": (
        node("MultiHeadAttention", "q k v", domain=MS, num_heads=2),
        {"q": [2, 5, 8], "k": [2, 7, 8], "v": [2, 7, 8]}, {}, 20, 2 * 2 * 5 * 7 * 8,
    ),
    "element-wise": (node("Mul", "x z"), {"x": [2, 3], "z": [2, 3]}, {}, 20, 0),
    "normalisation": (
        node("LayerNormalization", "x s"), {"x": [2, 3]}, {"s": w(3)}, 20, 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_by_hand(case, onnx_file):
    made, inputs, weights, opset, expected = CASES[case]
    path = onnx_file([made], inputs, ["y"], weights, opset=opset)
    found = macs.count(path, {name: tuple(shape) for name, shape in inputs.items()})
    assert found.total == expected
    assert found.unknown == []
    assert found.by_operator == ({made.op_type: expected} if _multiplies(case) else {})
    assert found.parameters == sum(value.size for value in weights.values())


def _multiplies(case: str) -> bool:
    return case not in ("element-wise", "normalisation")


def test_integer_matmul(onnx_file):
    path = onnx_file(
        [node("MatMulInteger", "x w")], {"x": [2, 3]}, ["y"], {"w": np.ones((3, 4), np.int8)},
        kinds={"x": "b", "y": "i"},
    )  # fmt: skip
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    onnx.save(model, path)
    assert macs.count(path, {"x": (2, 3)}).total == 2 * 4 * 3
    assert macs.count(path, {"x": (2, 3)}).parameters == 12


def test_batch_scales(mlp):
    path = mlp(3, "m.onnx")
    assert macs.count(path, {"x": (1, 64)}).total == 3 * 64 * 64
    assert macs.count(path, {"x": (8, 64)}).total == 8 * 3 * 64 * 64


def test_shapes_that_depend_on_values_are_read_from_a_run(onnx_file):
    """TopK's k comes from the input's own size, as after token pruning: no inference tells it."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s one", "n"),
        node("Div", "n two", "k"),
        node("Unsqueeze", "k zero", "ks"),
        node("TopK", "x ks", "kept order", axis=1),
        node("Transpose", "kept", "t", perm=[0, 2, 1]),
        node("MatMul", "t kept"),
    ]
    numbers = {"one": np.array(1), "two": np.array(2), "zero": np.array([0])}
    path = onnx_file(nodes, {"x": ["batch", "tokens", 4]}, ["y"], numbers)
    # 10 tokens, 5 kept: (4, 5) by (5, 4)
    found = macs.count(path, {"x": (3, 10, 4)})
    assert found.by_operator == {"MatMul": 3 * 4 * 4 * 5}
    assert found.parameters == 0


def test_local_functions_are_looked_into(onnx_file, tmp_path):
    body = helper.make_function(
        "ours", "Twice", ["a", "b"], ["c"],
        [node("MatMul", "a b", "m"), node("MatMul", "m b", "c")],
        [helper.make_opsetid("", 20)],
    )  # fmt: skip
    path = onnx_file([node("Twice", "x w", domain="ours")], {"x": [2, 3]}, ["y"], {"w": w(3, 3)})
    model = onnx.load(path)
    model.functions.append(body)
    model.opset_import.append(helper.make_opsetid("ours", 1))
    onnx.save(model, path)
    assert macs.count(path, {"x": (2, 3)}).total == 2 * (2 * 3 * 3)


def test_products_in_a_branch_are_told_as_unknown(onnx_file):
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    then = helper.make_graph([node("MatMul", "x w", "o")], "then", [], [out])
    other = helper.make_graph([node("Identity", "x", "o")], "else", [], [out])
    nodes = [
        node("ReduceSum", "x", "sum", keepdims=0),
        node("Greater", "sum none", "so"),
        helper.make_node("If", ["so"], ["y"], then_branch=then, else_branch=other),
    ]
    weights = {"w": w(3, 3), "none": np.array(0, np.float32)}
    found = macs.count(onnx_file(nodes, {"x": [2, 3]}, ["y"], weights), {"x": (2, 3)})
    assert (found.total, found.unknown) == (0, ["MatMul in If"])


def test_products_in_a_scan_are_counted_turn_by_turn(onnx_file):
    """Turn i multiplies [2, 3] by the first i + 1 columns of [3, 4]."""

    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    inside = [
        node("Add", "row one", "end"),
        node("Slice", "x zero end axis", "part"),
        node("MatMul", "chunk part", "product"),
        node("ReduceSum", "product", "sum", keepdims=0),
    ]
    inputs = [value("chunk", TensorProto.FLOAT, [2, 3]), value("row", TensorProto.INT64, [1])]
    body = helper.make_graph(inside, "body", inputs, [value("sum", TensorProto.FLOAT, [])])
    scan = node("Scan", "chunks rows", "y", body=body, num_scan_inputs=2, scan_output_axes=[0])
    weights = {
        "x": w(3, 4), "rows": np.arange(4)[:, None], "one": np.array([1]), "zero": np.array([0]),
        "axis": np.array([1]),
    }  # fmt: skip
    path = onnx_file([scan], {"chunks": ["n", 2, 3]}, ["y"], weights)
    found = macs.count(path, {"chunks": (4, 2, 3)})
    assert (found.total, found.unknown) == (2 * 3 * (1 + 2 + 3 + 4), [])


def test_operators_without_a_formula_are_unknown(onnx_file):
    nodes = [
        node("Inverse", "x", "i", domain=MS),
        node("Det", "i", "d"),
        node("Gelu", "d", domain=MS),
    ]
    path = onnx_file(nodes, {"x": [3, 3]}, ["y"])
    assert macs.count(path, {"x": (3, 3)}).unknown == ["Det", "com.microsoft.Inverse"]


def test_external_weights_stay_on_disk(mlp, tmp_path, monkeypatch):
    path = mlp(3, "m.onnx")
    model = onnx.load(path)
    onnx.save(
        model,
        tmp_path / "big.onnx",
        save_as_external_data=True,
        location="big.data",
        size_threshold=0,
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = macs.count(tmp_path / "big.onnx", {"x": (1, 64)})
    assert (found.total, found.parameters) == (3 * 64 * 64, 3 * 64 * 64)


def test_a_truncated_file_is_refused(mlp):
    path = mlp(3, "m.onnx")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ArtifactError, match=r"m\.onnx"):
        macs.count(path, {"x": (1, 64)})


def test_a_shape_that_does_not_fit_is_refused(mlp):
    with pytest.raises(EngineError, match=r"m\.onnx"):
        macs.count(mlp(1, "m.onnx"), {"x": (1, 63)})


def _formula(op: str, domain: str, inputs: list, outputs: list, **attributes) -> int | None:
    made = Node(tuple(inputs), tuple(outputs), attributes)
    return FORMULAS[(domain, op)](made)


def test_attention_with_a_memory_of_past_keys():
    past = (2, 4, 3, 8)  # 3 keys from before, 7 new ones: 10
    shapes = [(2, 4, 5, 8), (2, 4, 7, 8), (2, 4, 7, 8), None, past, past]
    assert _formula("Attention", "", shapes, [(2, 4, 5, 8)]) == 2 * 4 * 5 * 10 * 16


def test_packed_forms_of_multi_head_attention():
    out = [(2, 5, 8)]
    packed = _formula("MultiHeadAttention", MS, [(2, 5, 4, 3, 2)], out, num_heads=4)
    assert packed == 2 * 5 * 5 * (8 + 8)
    pairs = _formula("MultiHeadAttention", MS, [(2, 5, 8), (2, 7, 4, 2, 2)], out, num_heads=4)
    assert pairs == 2 * 5 * 7 * (8 + 8)


def test_grouped_attention_shares_keys_not_products():
    out = [(2, 5, 32), (2, 2, 9, 8), (2, 2, 9, 8)]  # 4 heads and 2 key heads of 8; 9 keys
    heads = {"num_heads": 4, "kv_num_heads": 2}
    apart = [(2, 5, 32), (2, 5, 16), (2, 5, 16)]
    assert _formula("GroupQueryAttention", MS, apart, out, **heads) == 2 * 4 * 5 * 9 * 16
    assert _formula("GroupQueryAttention", MS, [(2, 5, 64)], out, **heads) == 2 * 4 * 5 * 9 * 16


def test_forms_that_are_not_known_have_no_count():
    three = _formula("Einsum", "", [(2, 2)] * 3, [(2, 2)], equation=b"ij,jk,kl->il")
    assert three is None
    shapes = ([(2, 3, 4), (2, 4, 5)], [(2, 3, 5)])
    assert _formula("FusedMatMul", MS, *shapes, transBatchA=1) is None
    assert _formula("FusedMatMul", MS, *shapes) == 2 * 3 * 5 * 4
