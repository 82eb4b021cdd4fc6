"""Graphs of others: products against the counter's formulas, spikes, signs, what is not known."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from paring_profiles import macs
from paring_profiles.ledger import ledger

RNG = np.random.default_rng(0)


def weights(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def node(kind, inputs, domain="", **attributes):
    return helper.make_node(kind, inputs, ["y"], name="layer", domain=domain, **attributes)


def recurrent(kind, gates):
    stored = {"w": weights(1, 3 * gates, 5), "r": weights(1, 3 * gates, 3)}
    return node(kind, ["x", "w", "r"], hidden_size=3), (7, 2, 5), stored


def einsum(equation, *shape):
    return node("Einsum", ["x", "w"], equation=equation), (2, 5, 4), {"w": weights(*shape)}


CASES = {
    "transposed": (node("ConvTranspose", ["x", "w"], group=2), (2, 4, 5, 5), {"w": weights(4, 3, 2, 2)}),
    "einsum": einsum("bij,jk->bik", 4, 6),
    "einsum of a batch": einsum("bij,bkj->bik", 2, 6, 4),
    "LSTM": recurrent("LSTM", 4),
    "GRU": recurrent("GRU", 3),
    "packed attention": (
        node("Attention", ["x", "w", "b"], "com.microsoft", num_heads=2),
        (2, 7, 8),
        {"w": weights(8, 24), "b": weights(24)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_products_have_the_size_that_the_formula_counts(name, onnx_file):
    made, shape, stored = CASES[name]
    path = onnx_file([made], {"x": list(shape)}, ["y"], stored)
    found = ledger(path, {"x": shape})
    assert found.unpriced == []
    assert found.terms == macs.count(path, {"x": shape}).total > 0
    assert found.counts()["mac"] == found.terms


def test_the_bits_of_weights_are_told_apart(onnx_file):
    path = onnx_file([node("MatMul", ["x", "w"])], {"x": [2, 64]}, ["y"], {"w": weights(64, 48)})
    found = ledger(path, {"x": (2, 64)})
    assert found.weight_bits()["dram"] == found.bits()["dram"] == 32 * 64 * 48
    assert found.weight_bits()["buffer"] == 2 * 32 * 64 * 48  # written into it, and read from it once
    assert found.bits()["buffer"] - found.weight_bits()["buffer"] == 32 * (2 * 64 + 2 * 48)


def test_two_binary_operands_are_counted_as_popcount(onnx_file):
    nodes = [
        helper.make_node("Sign", ["x"], ["signs"]),
        helper.make_node("Transpose", ["signs"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["signs", "turned"], ["y"], name="layer"),
    ]
    found = ledger(onnx_file(nodes, {"x": [3, 8]}, ["y"], {}), {"x": (3, 8)})
    entry = next(e for e in found.entries if e.operator == "MatMul")
    assert (entry.kind, entry.count) == ("popcount", 3 * 8 * 3)
    assert found.operations()["popcount"] == 3 * 8 * 3
    assert entry.bits["registers"] == 72 * (1 + 1 + 32)


def neuron(steps, width, out):
    """A layer of neurons over [steps, 1, width], and weights behind it."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["v", "now"], ["risen"], name="risen"),
            helper.make_node("Greater", ["risen", "one"], ["fired"]),
            helper.make_node("Cast", ["fired"], ["spike"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["risen", "spike"], ["after"]),
        ],
        "step",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, width]) for n in ("v", "now")],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, width]) for n in ("after", "spike")],
    )
    return [
        helper.make_node("Scan", ["start", "x"], ["last", "spikes"], body=body, num_scan_inputs=1),
        helper.make_node("MatMul", ["spikes", "w"], ["y"], name="synapses"),
    ], {"start": np.zeros((1, width), np.float32), "one": np.float32(1), "w": weights(width, out)}


def test_spikes_make_synaptic_operations_and_scans_are_counted_step_by_step(onnx_file):
    nodes, stored = neuron(5, 6, 4)
    path = onnx_file(nodes, {"x": [5, 1, 6]}, ["y"], stored)
    found = ledger(path, {"x": (5, 1, 6)})
    assert found.unpriced == []
    assert found.counts()["synop"] == 5 * 6 * 4
    risen = next(e for e in found.entries if e.layer == "risen")
    assert risen.operations["add"] == 5 * 6
    assert risen.bits["buffer"] == 5 * 32 * (6 + 6 + 6)


def test_operators_of_others_are_named(onnx_file):
    strange = helper.make_node("Whirl", ["x"], ["y"], domain="example.org")
    graph = helper.make_graph(
        [strange],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("example.org", 1)])
    assert macs.unknown_operators(onnx.ModelProto.FromString(model.SerializeToString()).graph.node) == {
        "example.org.Whirl"
    }


def test_what_keeps_tokens_is_priced(onnx_file):
    keep = helper.make_node("TopK", ["x", "k"], ["y", "places"], name="keep", axis=1)
    found = ledger(onnx_file([keep], {"x": [1, 100]}, ["y"], {"k": np.array([70])}), {"x": (1, 100)})
    assert found.unpriced == []
    assert [entry.operations for entry in found.entries] == [{"multiply": 0, "add": 11 * 100}]
