"""Power-of-two codes against their definition, and METHODS' numbered checks."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paring.transforms._shift.codes import Packed, decode, encode, magnitudes, pack, unit, unpack
from paring.transforms._shift.integer import mat_shift, multiply, quantize_rows
from paring.transforms._shift.scales import fitted, largest, terms_of

ONE = torch.ones(1)


def every_value(bits: int) -> list[int]:
    positive = [2**m for m in range(magnitudes(bits))]
    return [0, *positive, *(-value for value in positive)]


def nearest_by_loop(weight: float, bits: int) -> float:
    """In the log domain, at scale 1; zero for zero only."""
    if weight == 0:
        return 0.0
    sizes = [unit(bits) * 2**m for m in range(magnitudes(bits))]
    logs = torch.tensor(sizes, dtype=torch.float64).log2()
    size = sizes[int((logs - torch.tensor(abs(weight), dtype=torch.float64).log2()).abs().argmin())]
    return size if weight > 0 else -size


def test_powers_of_two_of_the_methods() -> None:
    given = torch.tensor([[0.3, -0.7, 1.9, 1e-6, 0, -0.36, 0.3535, 0.3536]])
    expected = torch.tensor([[0.25, -0.5, 1, 2**-14, 0, -0.5, 0.25, 0.5]])
    assert torch.equal(decode(encode(given, ONE, 5), ONE, 5), expected)


def test_mat_shift_of_the_methods() -> None:
    x = torch.tensor([[5, -5, 12]])
    shifts, signs = torch.tensor([[0, 1, 2], [2, 0, 3]]), torch.tensor([[1, -1, 1], [-1, 1, 1]])
    assert mat_shift(x, shifts, signs).tolist() == [[11, -5]]
    weights = signs * 2.0**-shifts
    assert (x.float() @ weights.T).tolist() == [[10.5, -4.75]]


def test_mat_shift_floors_and_stays_within_k_of_the_exact() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randint(-(2**15), 2**15, (7, 33), generator=random)
    shifts = torch.randint(0, 15, (5, 33), generator=random)
    signs = torch.randint(-1, 2, (5, 33), generator=random)
    found = mat_shift(x, shifts, signs)
    floored = (x[:, None].double() / 2.0 ** shifts.double()).floor()
    assert torch.equal(found, (floored * signs).sum(2).long())
    exact = x.double() @ (signs * 2.0 ** -shifts.double()).T
    assert 0 < (found - exact).abs().max() < 33


@pytest.mark.parametrize("bits", [4, 5])
@pytest.mark.parametrize("columns", [1, 2, 7, 8, 9, 16])
def test_every_code_survives_packing_at_every_place(bits: int, columns: int) -> None:
    codes = every_value(bits)
    rows = [[0] * place + [code] + [0] * (columns - place - 1) for place in range(columns) for code in codes]
    values = torch.tensor(rows + [[code] * columns for code in codes], dtype=torch.int16)
    packed = pack(values, bits)
    assert packed.nibbles.shape == (len(values), -(-columns // 2))
    assert (packed.signs is None) == (bits == 4)
    assert packed.signs is None or packed.signs.shape == (len(values), -(-columns // 8))
    found = unpack(packed, columns, bits)
    assert found.dtype == torch.int16
    assert torch.equal(found, values)


def test_the_packed_bytes_are_the_canonical_ones() -> None:
    four = pack(torch.tensor([[1, -64, 0, 2, -1]], dtype=torch.int16), 4)
    assert four.nibbles.tolist() == [[0b1111_0001, 0b0010_0000, 0b0000_1001]]
    five = pack(torch.tensor([[1, -(2**14), 0, 2, -1, 0, 0, 0, -2]], dtype=torch.int16), 5)
    assert five.nibbles.tolist() == [[0b1111_0001, 0b0010_0000, 0b0000_0001, 0, 0b0000_0010]]
    assert five.signs is not None
    assert five.signs.tolist() == [[0b0001_0010, 0b0000_0001]]


def test_a_zero_with_a_sign_bit_is_zero() -> None:
    byte = torch.tensor([[0b1000_1000]], dtype=torch.uint8)
    assert unpack(Packed(byte, None), 2, 4).tolist() == [[0, 0]]
    plane = Packed(torch.zeros(1, 1, dtype=torch.uint8), torch.full((1, 1), 255, dtype=torch.uint8))
    assert unpack(plane, 2, 5).tolist() == [[0, 0]]


@pytest.mark.parametrize("bits", [4, 5])
def test_codes_are_fixed_points(bits: int) -> None:
    values = torch.tensor([every_value(bits)], dtype=torch.int16)
    for flush in (False, True):
        assert torch.equal(encode(decode(values, ONE, bits), ONE, bits, flush), values)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([4, 5]), st.floats(-4, 4, width=32))
def test_rounding_is_the_nearest_logarithm(bits: int, weight: float) -> None:
    found = decode(encode(torch.tensor([[weight]]), ONE, bits), ONE, bits).item()
    assert found == nearest_by_loop(weight, bits)


@pytest.mark.parametrize("bits", [4, 5])
def test_flushing_sends_what_is_nearer_to_zero_there(bits: int) -> None:
    smallest = unit(bits)
    given = torch.tensor([[0.499, 0.501, -0.499, -0.501]]) * smallest
    assert encode(given, ONE, bits, flush=True).tolist() == [[0, 1, 0, -1]]
    assert encode(given, ONE, bits).tolist() == [[1, 1, -1, -1]]


def test_the_border_is_the_geometric_mean() -> None:
    """2^-1.5 lies between two neighbouring numbers of fp32, which part ways."""
    border = torch.tensor(2.0**-1.5)
    around = torch.stack([torch.nextafter(border, ONE[0] * 0), border, torch.nextafter(border, ONE[0])])
    expected = torch.where(around.double() < 2.0**-1.5, 0.25, 0.5)
    assert torch.equal(decode(encode(around[None], ONE, 5), ONE, 5)[0].double(), expected.double())
    assert expected.unique().numel() == 2


@pytest.mark.parametrize("bits", [4, 5])
@pytest.mark.parametrize(
    ("granularity", "group", "shape"), [("tensor", 0, (1,)), ("channel", 0, (6,)), ("group", 4, (6, 5))]
)
def test_the_search_is_no_worse_than_the_largest(
    bits: int, granularity: str, group: int, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 20)
    weight[2] = 0

    def error(scale: torch.Tensor) -> torch.Tensor:
        return (decode(encode(weight, scale, bits, flush=True), scale, bits) - weight).square().sum()

    top, found = largest(weight, granularity, group), fitted(weight, bits, granularity, group)
    assert top.shape == found.shape == shape
    assert (found > 0).all()
    assert error(found) < error(top)


def test_finer_scales_err_less_and_a_second_term_far_less() -> None:
    torch.manual_seed(0)
    weight = torch.randn(32, 64) * torch.logspace(-2, 0, 32)[:, None]

    def error(granularity: str, group: int, count: int) -> float:
        terms = terms_of(weight, 4, granularity, group, count)
        total = sum(decode(term.values, term.scale, 4) for term in terms)
        return ((total - weight).square().sum() / weight.square().sum()).item()

    tensor, channel, group = error("tensor", 0, 1), error("channel", 0, 1), error("group", 16, 1)
    assert tensor > channel > group
    assert error("channel", 0, 2) < channel / 10


def test_groups_that_do_not_divide_a_row_are_refused() -> None:
    with pytest.raises(ValueError, match="group_size 3 does not divide 20"):
        largest(torch.ones(2, 20), "group", 3)
    with pytest.raises(ValueError, match="4 or 5 bits, not 3"):
        magnitudes(3)


@pytest.mark.parametrize("bits", [4, 5])
def test_integer_product_is_the_float_one(bits: int) -> None:
    random = torch.Generator().manual_seed(1)
    x = torch.randn(5, 48, generator=random)
    x[3] = 0
    rows = quantize_rows(x)
    assert (rows.values[[0, 1, 2, 4]].abs().amax(1) == 127).all()
    assert not rows.values[3].any()
    values = encode(torch.randn(9, 48, generator=random), ONE * 2, bits, flush=True)
    exact = rows.values.double() @ values.double().T
    assert torch.equal(multiply(rows.values, values).double(), exact)
    back = rows.values * rows.scale
    assert ((back - x).abs() <= rows.scale / 2 * (1 + 1e-5)).all()


@pytest.mark.parametrize("bits", [4, 5])
def test_pairs_of_codes_do_not_disturb_each_other(bits: int) -> None:
    codes = every_value(bits)
    values = torch.tensor(list(itertools.product(codes, codes)), dtype=torch.int16)
    assert torch.equal(unpack(pack(values, bits), 2, bits), values)
