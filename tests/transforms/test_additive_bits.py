"""Bits, words of bits, and the two orders of binary attention, against numbers and plain products."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from paring.transforms._additive import binary_attention, binary_attention_quadratic
from paring.transforms._additive.bits import hamming, pack, popcount, scores, straight_through, unpack

OPERATORS = [binary_attention, binary_attention_quadratic]
Q = torch.tensor([[1, 0], [0, 1], [1, 1]], dtype=torch.bool)
K = torch.tensor([[1, 1], [0, 1], [1, 0]], dtype=torch.bool)
V = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]])


def random_bits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.5


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
def test_the_worked_example(operator: Callable[..., torch.Tensor], dtype: torch.dtype) -> None:
    q, k = Q.to(dtype)[None, None], K.to(dtype)[None, None]
    products = K.float().T @ V
    assert products.tolist() == [[1.5, 6.0], [4.0, 1.0]]
    found = operator(q, k, V[None, None])[0, 0]
    np.testing.assert_allclose(found[0], [0.977465, 2.909859], atol=1e-6)
    np.testing.assert_allclose(found, 0.5 * V + Q.float() @ products / math.pi, atol=1e-6)


def test_either_product_may_come_first() -> None:
    q, k = random_bits(2, 3, 11, 7), random_bits(2, 3, 11, 7, seed=1)
    v = torch.randn(2, 3, 11, 5, dtype=torch.float64)
    torch.testing.assert_close(binary_attention(q, k, v), binary_attention_quadratic(q, k, v))


@pytest.mark.parametrize("width", [1, 16, 31, 32, 33, 64, 70])
def test_words_hold_what_was_packed(width: int) -> None:
    bits = random_bits(3, 5, width)
    words = pack(bits)
    assert words.dtype == torch.uint32
    assert words.shape == (3, 5, -(-width // 32))
    assert torch.equal(unpack(words, width), bits)
    assert torch.equal(popcount(words).sum(-1), bits.sum(-1))


def test_element_32_j_plus_i_is_bit_i_of_word_j() -> None:
    bits = torch.zeros(40, dtype=torch.bool)
    bits[[0, 5, 31, 33]] = True
    assert pack(bits).tolist() == [1 + (1 << 5) + (1 << 31), 2]


def test_popcount_of_every_byte_and_of_all_ones() -> None:
    words = torch.tensor([*range(256), 2**32 - 1, 2**31], dtype=torch.int64).to(torch.uint32)
    assert popcount(words).tolist() == [bin(int(word)).count("1") for word in words.tolist()]


@pytest.mark.parametrize("width", [16, 64, 70])
def test_scores_are_popcounts_and_hamming_counts_differing_bits(width: int) -> None:
    q, k = random_bits(2, 9, width), random_bits(2, 4, width, seed=1)
    assert torch.equal(scores(pack(q), pack(k)), (q.long() @ k.long().transpose(1, 2)))
    differing = (q[:, :, None] != k[:, None]).sum(-1)
    assert torch.equal(hamming(pack(q), pack(k)), differing)
    sizes = q.sum(-1)[..., None] + k.sum(-1)[:, None]
    assert torch.equal(differing, sizes - 2 * scores(pack(q), pack(k)))


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_operator_is_what_torch_expects_of_one(operator: Callable[..., torch.Tensor]) -> None:
    q, k = random_bits(2, 3, 6, 4), random_bits(2, 3, 6, 4, seed=1)
    torch.library.opcheck(operator, (q, k, torch.randn(2, 3, 6, 5, requires_grad=True)))


@pytest.mark.parametrize("operator", OPERATORS)
def test_values_have_a_gradient(operator: Callable[..., torch.Tensor]) -> None:
    q, k = random_bits(1, 2, 4, 3), random_bits(1, 2, 4, 3, seed=1)
    v = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: operator(q, k, values), v)


def test_straight_through_has_the_gradient_of_a_clamp() -> None:
    value = torch.tensor([-0.5, 0.2, 0.7, 1.5], requires_grad=True)
    bits = straight_through(value, torch.tensor([False, False, True, True]))
    assert bits.tolist() == [0, 0, 1, 1]
    (bits * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [0, 2, 3, 0]
