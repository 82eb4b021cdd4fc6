"""Shift layers against their decoded weights, packed and in training."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from paring.transforms._shift import (
    Form,
    Patchwise,
    ShiftLinear,
    TrainableShiftLinear,
    frozen,
    shifted,
    trainable,
)
from paring.transforms._shift.codes import decode
from paring.transforms._shift.layer import is_patchwise
from paring.transforms._shift.scales import terms_of

FORMS = [
    Form(bits, scale, group, terms)
    for bits in (4, 5)
    for scale, group in (("tensor", 0), ("channel", 0), ("group", 7))
    for terms in (1, 2)
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [True, False])
def test_the_output_is_that_of_the_decoded_weights(form: Form, bias: bool) -> None:
    linear = nn.Linear(21, 10, bias)
    layer = ShiftLinear.from_linear(linear, form)
    terms = terms_of(linear.weight, form.bits, form.granularity, form.group, form.terms)
    weight = sum(decode(term.values, term.scale, form.bits) for term in terms)
    x = torch.randn(3, 4, 21)
    torch.testing.assert_close(layer(x), nn.functional.linear(x, weight, linear.bias))
    torch.testing.assert_close(layer.weight, weight, atol=0, rtol=0)


@pytest.mark.parametrize(("bits", "share"), [(4, 0.5), (5, 0.625)])
def test_the_state_takes_so_many_bits_a_weight_on_disk_and_in_memory(
    bits: int, share: float, tmp_path: Path
) -> None:
    layer = ShiftLinear.from_linear(nn.Linear(256, 512, bias=False), Form(bits))
    state = layer.state_dict()
    held = sum(value.numel() * value.element_size() for value in state.values())
    assert held == 256 * 512 * share + 4 * 512
    save_file(state, tmp_path / "layer.safetensors")
    assert (tmp_path / "layer.safetensors").stat().st_size < held + 1000
    other = ShiftLinear.from_linear(nn.Linear(256, 512, bias=False), Form(bits))
    other.load_state_dict(load_file(tmp_path / "layer.safetensors"))
    assert torch.equal(other.weight, layer.weight)


@pytest.mark.parametrize("form", FORMS)
def test_the_operator_is_well_formed(form: Form) -> None:
    layer = ShiftLinear.from_linear(nn.Linear(21, 6), form).requires_grad_()
    term = layer.packed()[0]
    x = torch.randn(2, 3, 21, requires_grad=True)
    rest = (term.nibbles, term.signs, term.scale, layer.bias, 21, term.bits, term.group)
    torch.library.opcheck(torch.ops.paring.shift_linear.default, (x, *rest))


def test_gradients_reach_input_and_bias() -> None:
    layer = ShiftLinear.from_linear(nn.Linear(8, 5), Form(terms=2))
    x = torch.randn(3, 8, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    bias = layer.bias.detach().clone().requires_grad_()
    layer(x).square().sum().backward()
    nn.functional.linear(twin, layer.weight, bias).square().sum().backward()
    torch.testing.assert_close(x.grad, twin.grad)
    torch.testing.assert_close(layer.bias.grad, bias.grad)


@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        (nn.Conv2d(3, 5, 4, 4), (2, 3, 8, 12)),
        (nn.Conv2d(3, 5, (2, 3), (2, 3)), (2, 3, 9, 11)),  # something is left over at the edges
        (nn.Conv2d(6, 5, 1), (2, 6, 4, 3)),
        (nn.Conv1d(6, 5, 2, 2, bias=False), (2, 6, 8)),
        (nn.Conv3d(2, 5, (2, 3, 3), (2, 3, 3)), (1, 2, 4, 6, 9)),
    ],
)
def test_convolutions_without_overlap_are_linear_layers(conv: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    layer = shifted(conv, Form(5, terms=2))
    assert isinstance(layer, Patchwise)
    same = copy.deepcopy(conv)
    same.weight.data = layer.weight
    torch.testing.assert_close(layer(x), same(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(3, 4, 3, 3, padding=1),
        nn.Conv2d(4, 4, 2, 2, groups=2),
        nn.Conv2d(3, 4, 2, 2, dilation=2),
        nn.Conv2d(3, 4, 1, 2),
        nn.Conv2d(3, 4, 3, padding="same"),
    ],
)
def test_other_convolutions_are_refused(conv: nn.Module) -> None:
    assert not is_patchwise(conv)
    with pytest.raises(ValueError, match="Conv2d is no linear layer"):
        shifted(conv, Form())


@pytest.mark.parametrize("form", FORMS)
def test_training_starts_at_the_layer_and_freezes_to_what_it_computes(form: Form) -> None:
    linear = nn.Linear(21, 10)
    layer = ShiftLinear.from_linear(linear, form)
    model = trainable(nn.Sequential(layer, nn.ReLU()), nn.Sequential(linear, nn.ReLU()))
    x, target = torch.randn(16, 21), torch.rand(16, 10)
    assert isinstance(model[0], TrainableShiftLinear)
    assert torch.equal(model[0].latent, linear.weight)
    torch.testing.assert_close(model(x), layer(x).relu())
    before = [term.values for term in model[0].codes()]
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (model(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert any(not torch.equal(a, b.values) for a, b in zip(before, model[0].codes(), strict=True))
    trained = model(x)
    back = frozen(model)
    assert isinstance(back[0], ShiftLinear)
    torch.testing.assert_close(back(x), trained, atol=1e-6, rtol=1e-6)
    if form.terms == 1:  # of two terms, the sum may be coded by two others
        assert torch.equal(back[0].weight, frozen(trainable(copy.deepcopy(back)))[0].weight)


def test_the_gradient_passes_the_rounding_unchanged() -> None:
    layer = TrainableShiftLinear(ShiftLinear.from_linear(nn.Linear(6, 4), Form()))
    twin = layer.weight.detach().clone().requires_grad_()
    x = torch.randn(5, 6)
    layer(x).square().sum().backward()
    nn.functional.linear(x, twin, layer.bias).square().sum().backward()
    torch.testing.assert_close(layer.latent.grad, twin.grad)


def test_a_layer_at_two_places_stays_one() -> None:
    shared = ShiftLinear.from_linear(nn.Linear(4, 4), Form())
    model = trainable(nn.ModuleList([shared, nn.Sequential(shared)]))
    assert model[0] is model[1][0]
    assert isinstance(trainable(shared), TrainableShiftLinear), "the root is replaced too"
