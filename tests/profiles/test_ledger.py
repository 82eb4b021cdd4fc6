"""Every figure is worked out by hand in the test's own lines."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from paring_profiles.ledger import against_int8, ledger, prices
from paring_profiles.ledger.evidence import shift_bits
from paring_profiles.ledger.products import Product
from paring_profiles.ledger.reuse import Widths, traffic

DENSE = np.random.default_rng(0).standard_normal((64, 48)).astype(np.float32)
# Signs, exponents 0 to 6 and a scale a column: a 4-bit code.
CODES = np.random.default_rng(1).integers(0, 7, (64, 48))
SIGNS = np.random.default_rng(2).choice([-1.0, 0.0, 1.0], (64, 48))
SCALES = np.random.default_rng(3).uniform(0.1, 2.0, 48)
SHIFTS = (SIGNS * 2.0**-CODES * SCALES).astype(np.float32)


def account(onnx_file, nodes, weights, x=(2, 64), **options):
    path = onnx_file(nodes, {"x": list(x)}, ["y"], weights)
    return ledger(path, {"x": x}, **options)


def matmul(name="w"):
    return helper.make_node("MatMul", ["x", name], ["y"], name="layer")


def test_a_dense_layer_multiplies_and_adds(onnx_file):
    (entry,) = account(onnx_file, [matmul()], {"w": DENSE}).entries
    count = 2 * 64 * 48
    assert entry.arithmetic == "fp32_mac"
    assert entry.operations == {"multiply": count, "add": count}
    assert entry.energy_pj["operations"] == pytest.approx(count * (3.7 + 0.9))
    assert entry.bits["dram"] == 64 * 48 * 32  # the weights; activations fit in the buffer
    assert entry.energy_pj["dram"] == pytest.approx(64 * 48 * 2 * 200)
    assert entry.energy_pj["registers"] == pytest.approx(count * 2 * (3.7 + 7.4 + 3.7))


def test_powers_of_two_are_shifted(onnx_file):
    (entry,) = account(onnx_file, [matmul()], {"w": SHIFTS}).entries
    count = 2 * 64 * 48
    assert entry.arithmetic == "shift_add"
    assert entry.operations == {"shift": count, "add": count}
    assert entry.energy_pj["operations"] == pytest.approx(count * (0.13 + 0.1))
    assert entry.bits["dram"] == 64 * 48 * 4


def test_decoded_weights_are_seen_through(onnx_file):
    """int8 values and a scale a column, as DequantizeLinear makes them."""
    values = (SIGNS * 2.0 ** (6 - CODES)).astype(np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=1),
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("Transpose", ["t"], ["u"], perm=[1, 0]),
        matmul("u"),
    ]
    found = account(onnx_file, nodes, {"q": values, "s": SCALES.astype(np.float32)})
    assert [entry.arithmetic for entry in found.entries] == ["shift_add"]


def test_one_weight_that_is_no_power_of_two_makes_a_layer_multiply(onnx_file):
    spoiled = SHIFTS.copy()
    spoiled[3, 5] = 0.75 * SCALES[5]
    (entry,) = account(onnx_file, [matmul()], {"w": spoiled}).entries
    assert entry.arithmetic == "fp32_mac"


@pytest.mark.parametrize(("weights", "bits"), [
    (SHIFTS, 4),
    (2.0 ** -np.arange(15.0)[:, None] * np.ones((1, 3)), 5),
    (2.0 ** -np.arange(16.0)[:, None] * np.ones((1, 3)), None),  # more exponents than a 5-bit code has
    (np.ones((4, 3)), None),  # one size: nothing is shifted
    (np.zeros((4, 3)), None),
    (DENSE, None),
])  # fmt: skip
def test_bits_of_a_code(weights, bits):
    assert shift_bits(weights) == bits


def test_groups_of_inputs_may_have_scales_of_their_own():
    grouped = SHIFTS * np.repeat([[1.0], [1.3], [0.7], [1.9]], 16, axis=0)
    assert shift_bits(grouped) == 4


def test_a_binary_operand_selects(onnx_file):
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["bits"]),
        helper.make_node("Cast", ["bits"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["mask", "w"], ["y"], name="layer"),
    ]
    found = account(onnx_file, nodes, {"zero": np.float32(0), "w": DENSE})
    entry = next(e for e in found.entries if e.operator == "MatMul")
    assert entry.arithmetic == "select_add"
    assert entry.operations == {"add": 2 * 64 * 48}


def test_the_paper_lets_layers_that_add_move_nothing(onnx_file):
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["bits"]),
        helper.make_node("Cast", ["bits"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["mask", "w"], ["y"], name="layer"),
    ]
    (entry,) = account(onnx_file, nodes, {"zero": np.float32(0), "w": DENSE}, accounting="paper").entries
    assert (entry.energy_pj["dram"], entry.energy_pj["buffer"], entry.energy_pj["network"]) == (0, 0, 0)


def test_the_paper_charges_one_operation_a_product(onnx_file):
    (dense,) = account(onnx_file, [matmul()], {"w": DENSE}, accounting="paper").entries
    (shift,) = account(onnx_file, [matmul()], {"w": SHIFTS}, accounting="paper").entries
    assert dense.operations == {"multiply": 2 * 64 * 48}
    assert shift.operations == {"shift": 2 * 64 * 48}
    assert shift.bits["dram"] == 64 * 48 * 10


def test_as_int8(onnx_file):
    (entry,) = account(onnx_file, [matmul()], {"w": DENSE}, as_int8=True).entries
    assert entry.arithmetic == "int8_mac"
    assert entry.energy_pj["operations"] == pytest.approx(2 * 64 * 48 * 0.23)
    assert entry.bits["dram"] == 64 * 48 * 8


def test_elementwise_work_is_charged_but_not_in_the_paper(onnx_file):
    nodes = [helper.make_node("Relu", ["x"], ["y"], name="r")]
    (entry,) = account(onnx_file, nodes, {}).entries
    assert entry.operations == {"multiply": 0, "add": 128}
    assert account(onnx_file, nodes, {}, accounting="paper").entries == []


def test_work_on_weights_alone_is_done_at_load(onnx_file):
    nodes = [helper.make_node("Mul", ["a", "b"], ["w"]), matmul()]
    found = account(onnx_file, nodes, {"a": DENSE, "b": np.float32(2)})
    assert [entry.operator for entry in found.entries] == ["MatMul"]


def test_what_has_no_price_is_named(onnx_file):
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation="ij,jk->ik")
    assert account(onnx_file, [node], {"w": DENSE}).unpriced == []
    sort = [helper.make_node("Unique", ["x"], ["y"])]
    assert account(onnx_file, sort, {}).unpriced == ["Unique"]


def test_a_product_within_the_array_reads_each_operand_once():
    small = Product(batch=1, m=4, k=10, n=5, left_words=40, right_words=50, out_words=20)
    moved = traffic(small, Widths(32, 32, 32), True, prices())
    assert moved.network == 32 * (40 + 50 + 20)
    assert moved.buffer == moved.network + 32 * 50  # the weights are written into it first
    assert moved.dram == 32 * 50


def test_the_best_tiling_is_found():
    """168 outputs at once; 24 x 14 outputs: two tiles of 12 x 14 read the right operand twice, ..."""
    product = Product(batch=1, m=24, k=7, n=14, left_words=24 * 7, right_words=7 * 14, out_words=24 * 14)
    moved = traffic(product, Widths(1, 1, 1), True, prices())
    assert moved.network == 24 * 7 + 2 * 7 * 14 + 24 * 14


def test_activations_beyond_the_buffer_come_from_dram():
    words = 65536 * 16 // 32
    fits = Product(1, words, 1, 1, words, 1, 1)
    over = Product(1, words + 1, 1, 1, words + 1, 1, 1)
    assert traffic(fits, Widths(32, 32, 32), True, prices()).dram == 32
    assert traffic(over, Widths(32, 32, 32), True, prices()).dram == 32 + 32 * (words + 1)


def test_attention_is_two_products(onnx_file):
    node = helper.make_node("Attention", ["x", "x", "x"], ["y"], name="a")
    path = onnx_file([node], {"x": [1, 3, 10, 8]}, ["y"], {}, opset=23)
    found = ledger(path, {"x": (1, 3, 10, 8)})
    count = 2 * 3 * 10 * 10 * 8
    assert found.operations() == {"multiply": count, "shift": 0, "add": count, "popcount": 0}


def test_counts_agree_with_the_count_of_multiply_accumulates(onnx_file):
    from paring_profiles import macs

    conv = helper.make_node("Conv", ["x", "w"], ["y"], name="c", group=2)
    weights = np.random.default_rng(0).standard_normal((6, 2, 3, 3)).astype(np.float32)
    path = onnx_file([conv], {"x": [1, 4, 5, 5]}, ["y"], {"w": weights})
    shapes = {"x": (1, 4, 5, 5)}
    assert ledger(path, shapes).operations()["multiply"] == macs.count(path, shapes).total
    assert onnx.load(str(path)).graph.node[0].op_type == "Conv"


def test_int8_beats_shifts_where_activations_prevail(onnx_file):
    """Each of 64 rows uses a weight again, so registers decide: 14.8 pJ for 16 bits, of 32 or of 8."""
    rows = (64, 64)
    first, own = (account(onnx_file, [matmul()], {"w": w}, rows) for w in (DENSE, SHIFTS))
    int8 = account(onnx_file, [matmul()], {"w": DENSE}, rows, as_int8=True)
    assert int8.total_uj < own.total_uj < first.total_uj
    told = against_int8("shifted", own, first, int8)
    shares = [f"{one.total_uj / first.total_uj:.0%}" for one in (int8, own)]
    assert told.startswith(
        f"modelled, int8 needs {shares[0]} of the original's energy, shifted {shares[1]}: int8 wins here,"
        " most of it in registers ("
    )
    assert "(0.054 pJ in place of 0.23; on fp32 ones 0.23)" in told


def test_shifts_beat_int8_where_weights_prevail(onnx_file):
    """By hand: one row reads each weight once, 4 bits of DRAM in place of 8 are 50 pJ less a weight."""
    row = (1, 64)
    first, own = (account(onnx_file, [matmul()], {"w": w}, row) for w in (DENSE, SHIFTS))
    int8 = account(onnx_file, [matmul()], {"w": DENSE}, row, as_int8=True)
    saved = (int8.energy_uj()["dram"] - own.energy_uj()["dram"]) * 1e6
    assert saved == pytest.approx(64 * 48 * 4 / 16 * 200)
    assert "shifted wins here, most of it in DRAM (" in against_int8("shifted", own, first, int8)
    assert against_int8("dense", first, first, int8) is None
