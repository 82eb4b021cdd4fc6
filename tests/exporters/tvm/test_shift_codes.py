"""Codes, their integers, and the order in which kernels read them."""

from __future__ import annotations

import numpy as np
import pytest

from paring_exporters.tvm.shift_codes import integers, reblock, split, unit_bytes, values
from paring_exporters.tvm.shift_problem import MAX_IN_FEATURES, ShiftShape
from paring_exporters.tvm.shift_weights import kernel_weights
from paring_runtimes.errors import InputError


def test_every_code_has_its_integer() -> None:
    four, five = values(4), values(5)
    for m in range(1, 8):
        assert four[m] == 2 ** (m - 1)
        assert four[8 | m] == -(2 ** (m - 1))
    for m in range(1, 16):
        assert five[m] == 2 ** (m - 1)
        assert five[16 | m] == -(2 ** (m - 1))
    assert four[0] == four[8] == five[0] == five[16] == 0


def test_five_bit_integers_split_into_two_bytes() -> None:
    low, high = split(values(5))
    assert (low + 256 * high == values(5)).all()
    for part in (low, high):
        assert part.min() >= -128
        assert part.max() <= 127


def test_canonical_form_in_its_order() -> None:
    nibbles = np.array([[0x21, 0x9F]], np.uint8)  # codes 1, 2, 15, 9
    assert integers(nibbles, None, 4).tolist() == [[1, 2, -64, -1]]
    signs = np.array([[0b0101]], np.uint8)  # the first and the third are negative
    assert integers(nibbles, signs, 3).tolist() == [[-1, 2, -(2**14)]]


@pytest.mark.parametrize("order", ["dot", "lanes"])
def test_a_unit_holds_lane_and_feature_where_it_says(order: str) -> None:
    nibbles = np.random.default_rng(0).integers(0, 256, (20, 32), np.uint8)
    codes = np.stack([nibbles & 15, nibbles >> 4], axis=-1).reshape(20, 64)
    units = reblock(nibbles, None, 64, order)  # type: ignore[arg-type]
    assert units.shape == (2, 8, unit_bytes(4))
    for output, feature in [(0, 0), (3, 5), (17, 63), (15, 12), (19, 34)]:
        register, j = divmod(feature % 8, 4)
        lane = output % 16
        byte = units[output // 16, feature // 8, 4 * lane + j if order == "dot" else 16 * j + lane]
        assert byte >> (4 * register) & 15 == codes[output, feature]
    assert (units[1].reshape(8, 16, 4)[:, 4:] == 0).all() or order == "lanes"


def test_packed_bytes_a_weight() -> None:
    assert reblock(np.zeros((64, 512), np.uint8), None, 1024, "dot").nbytes == 64 * 1024 // 2
    signs = np.zeros((64, 128), np.uint8)
    assert reblock(np.zeros((64, 512), np.uint8), signs, 1024, "dot").nbytes == 64 * 1024 * 5 // 8


def test_what_does_not_fit_is_refused() -> None:
    nibbles = np.zeros((4, 8), np.uint8)
    with pytest.raises(InputError, match="nibbles"):
        integers(nibbles, None, 18)
    with pytest.raises(InputError, match="signs"):
        integers(nibbles, np.zeros((4, 1), np.uint8), 16)
    with pytest.raises(InputError, match="group"):
        kernel_weights(nibbles, None, np.ones((4, 2)), None, 16, "dot")
    with pytest.raises(InputError, match="bias"):
        kernel_weights(nibbles, None, np.ones(4), np.ones(3), 16, "dot")
    with pytest.raises(InputError, match="exact"):
        ShiftShape(1, MAX_IN_FEATURES + 1, 1)
    with pytest.raises(InputError, match="bits"):
        ShiftShape(1, 1, 1, bits=3)
