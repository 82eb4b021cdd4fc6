"""Mixtures in models: what they answer, what they train, and what they tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from models import FAMILIES, build
from torch import nn

import paring_runtimes
from paring.data import ImageData, Preprocess
from paring.mixture_facts import expert_shares
from paring.recipe import build_recipe, dump_recipe
from paring.transforms import _mixture, primitive_mixture
from paring.transforms._mixture import MixtureLinear, Plan, Primitive, TrainableMixtureLinear
from paring.transforms._mixture.choice import mixed
from paring.transforms._shift import ShiftLinear, TrainableShiftLinear
from paring.transforms.primitive_mixture import Config, apply, auxiliary_loss, check, frozen, trainable
from paring.transforms.token_map import trace
from paring_exporters import exporters
from paring_exporters.request import Request
from paring_runtimes.errors import RecipeError

GATES = ("straight_through", "probability")


def plan(gate: str = "straight_through", shares: tuple[float, ...] = (0.4, 0.6)) -> Plan:
    return Plan(shares, (0.6, 0.4), "assumed", "16x24", gate)


def layer(gate: str = "straight_through") -> MixtureLinear:
    torch.manual_seed(0)
    return mixed("here", nn.Linear(16, 24), ("linear", "shift"), plan(gate))


def reference(mixture: MixtureLinear, x: torch.Tensor) -> torch.Tensor:
    """Token by token: rank by p_0 - p_1, the first 40 % to the first expert."""
    y = torch.zeros(*x.shape[:2], 24)
    for b, tokens in enumerate(x):
        gates = mixture.router(tokens).softmax(-1)
        ranked = (gates[:, 0] - gates[:, 1]).argsort(descending=True, stable=True).tolist()
        first = set(ranked[: round(0.4 * len(tokens))])
        for t, token in enumerate(tokens):
            name, gate = ("linear", gates[t, 0]) if t in first else ("shift", gates[t, 1])
            y[b, t] = mixture.experts[name](token) * (gate if mixture.plan.gate == "probability" else 1)
    return y


@pytest.mark.parametrize("gate", GATES)
def test_a_mixture_is_the_plain_weighted_answer_of_each_token_s_expert(gate: str) -> None:
    mixture, x = layer(gate), torch.randn(3, 20, 16)
    with torch.inference_mode():
        torch.testing.assert_close(mixture(x), reference(mixture, x))


def test_large_answers_stay_finite_and_negative_ones_stay_themselves() -> None:
    """In the log domain, as the release combines, 90 becomes infinite and -50 becomes -36.04."""
    mixture = layer()
    with torch.no_grad():
        for expert in mixture.experts.values():
            expert.bias.copy_(torch.tensor([90.0, -50.0] * 12))
    y = mixture(torch.zeros(1, 10, 16))
    torch.testing.assert_close(y, torch.tensor([90.0, -50.0] * 12).expand(1, 10, -1))


@pytest.mark.parametrize("gate", GATES)
def test_the_trainable_form_answers_as_what_it_freezes_to(gate: str) -> None:
    mixture, x = layer(gate), torch.randn(2, 20, 16)
    with torch.inference_mode():
        expected, keys = mixture(x), set(mixture.state_dict())
        training = trainable(nn.Sequential(mixture)).eval()
        assert type(training[0]) is TrainableMixtureLinear
        assert isinstance(training[0].experts["shift"], TrainableShiftLinear)
        torch.testing.assert_close(training(x), expected)
        back = frozen(training)
        torch.testing.assert_close(back(x), expected)
    assert type(back[0]) is MixtureLinear
    assert isinstance(back[0].experts["shift"], ShiftLinear)
    assert set(back[0].state_dict()) == keys


@pytest.mark.parametrize("gate", GATES)
def test_the_router_gets_a_gradient_from_the_task_alone(gate: str) -> None:
    training = trainable(nn.Sequential(layer(gate))).train()
    training(torch.randn(2, 20, 16)).square().mean().backward()
    gradient = training[0].router.weight.grad
    assert gradient is not None
    assert gradient.abs().amax() > 1e-6


def test_the_router_gets_a_gradient_from_the_balance_alone() -> None:
    training = trainable(nn.Sequential(layer())).train()
    training(torch.randn(2, 20, 16))
    auxiliary_loss(training).backward()
    gradient = training[0].router.weight.grad
    assert gradient is not None
    assert gradient.abs().amax() > 1e-8
    assert all(p.grad is None for p in training[0].experts.parameters())


def test_the_straight_through_gradient_is_that_of_the_soft_mixture() -> None:
    training, x = trainable(nn.Sequential(layer())).eval(), torch.randn(2, 20, 16)
    target = torch.randn(2, 20, 24)
    (training(x) * target).sum().backward()
    found = training[0].router.weight.grad.clone()
    training.zero_grad()
    gates = training[0].router(x).softmax(-1)
    answers = torch.stack([expert(x) for expert in training[0].experts.values()], -1)
    ((answers * gates[:, :, None]).sum(-1) * target).sum().backward()
    torch.testing.assert_close(found, training[0].router.weight.grad)


def test_the_balance_teaches_the_router_to_prefer_the_cheaper_expert() -> None:
    """Alpha 6:4: the sums of the gates go to 40:60."""
    training = trainable(nn.Sequential(layer())).train()
    mixture, x = training[0], torch.randn(8, 50, 16)
    with torch.no_grad():
        mixture.router.bias.copy_(torch.tensor([2.0, -2.0]))
    optimizer = torch.optim.Adam(mixture.router.parameters(), lr=0.05)
    for _ in range(150):
        training(x)
        optimizer.zero_grad()
        auxiliary_loss(training).backward()
        optimizer.step()
    share = mixture.router(x).softmax(-1).mean((0, 1))
    assert share[1].item() == pytest.approx(0.6, abs=0.08)


def test_there_is_no_auxiliary_loss_outside_of_training() -> None:
    training = trainable(nn.Sequential(layer())).eval()
    training(torch.randn(1, 4, 16))
    assert auxiliary_loss(training).item() == 0
    assert auxiliary_loss(nn.Linear(2, 2)).item() == 0


def test_latents_start_at_the_float_weights_until_codes_were_trained() -> None:
    training = trainable(nn.Sequential(layer()))[0]
    assert torch.equal(training.experts["shift"].latent, training.experts["linear"].weight)
    with torch.no_grad():
        training.experts["linear"].weight.add_(1)
    again = trainable(frozen(nn.Sequential(training)))[0]
    assert not torch.equal(again.experts["shift"].latent, again.experts["linear"].weight)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_mixed_and_alone_is_as_together(name: str) -> None:
    model, pixels = build(name), torch.randn(3, 3, 32, 32)
    config = Config(layers=("all",))
    assert check(model, config) == []
    with torch.inference_mode():
        before = model(pixels)
        model = apply(model, config)
        after, alone = model(pixels), torch.cat([model(image[None]) for image in pixels])
    assert len(_mixture.mixtures(model)) >= 6 * 6
    torch.testing.assert_close(after, alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(after, before, atol=1e-4)


def test_all_tokens_to_the_linear_expert_is_the_model_itself() -> None:
    model, pixels = build("timm ViT"), torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        before = model(pixels)
        after = apply(model, Config(layers=("all",), shares=(1.0, 0.0)))(pixels)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)


def test_patterns_choose_and_a_second_step_goes_on_from_the_first() -> None:
    model = apply(build("timm ViT"), Config(layers=("*.fc1",), exclude=("*.0.mlp.*",)))
    assert len(_mixture.mixtures(model)) == 5
    model = apply(model, Config(layers=("mlp",), experts=("linear", "shift5")))
    found = _mixture.mixtures(model)
    assert len(found) == 12
    assert all(path.endswith(("fc1", "fc2")) for path in found), "an expert was mixed again"


def test_a_new_primitive_is_one_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    zero = Primitive(lambda linear: nn.Linear(linear.in_features, linear.out_features), 2.0)
    monkeypatch.setitem(_mixture.PRIMITIVES, "other", zero)
    config = Config(experts=("linear", "shift", "other"))
    model = apply(build("timm ViT", depth=2), config)
    shares = next(iter(_mixture.mixtures(model).values())).plan.shares
    assert shares == pytest.approx([2 / 11, 3 / 11, 6 / 11])  # 1/6 : 1/4 : 1/2
    exported = exporters()["onnx"].export(model, Request(torch.randn(2, 3, 32, 32)), tmp_path)
    pixels = torch.randn(3, 3, 32, 32)
    with paring_runtimes.load(exported.entry) as session, torch.inference_mode():
        found = session.run({"pixel_values": pixels.numpy()})["logits"]
        np.testing.assert_allclose(found, model(pixels).numpy(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("gate", GATES)
def test_the_graph_has_static_shapes_and_agrees(gate: str, tmp_path: Path) -> None:
    import onnx

    model = apply(build("transformers ViT", depth=3), Config(gate=gate))
    exported = exporters()["onnx"].export(model, Request(torch.randn(2, 3, 32, 32)), tmp_path)
    kinds = {node.op_type for node in onnx.load(exported.entry).graph.node}
    assert not kinds & {"NonZero", "Compress", "Loop", "If", "ScatterND", "ScatterElements", "Where"}
    pixels = torch.randn(3, 3, 32, 32)
    with paring_runtimes.load(exported.entry) as session, torch.inference_mode():
        found = session.run({"pixel_values": pixels.numpy()})["logits"]
        np.testing.assert_allclose(found, model(pixels).numpy(), atol=1e-4, rtol=1e-4)


def test_a_tie_shows_in_the_margin() -> None:
    model, pixels = apply(build("timm ViT"), Config()), torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        _, found = trace(model, pixels)
        assert found is not None
        assert found.stage_names == ()
        assert 0 < found.margin.amin() < 1
        with torch.no_grad():
            next(iter(_mixture.mixtures(model).values())).router.weight.zero_()
        assert (trace(model, pixels)[1].margin == 0).all()


def test_costs_give_alpha_and_shares_by_shape() -> None:
    costs = {"48x192": (3.0, 1.0)}
    model = apply(build("timm ViT"), Config(latency_ms=costs, measured_on="a test"))
    plans = {path.rpartition(".")[2]: m.plan for path, m in _mixture.mixtures(model).items()}
    assert plans["fc1"].alpha == (0.75, 0.25)
    assert plans["fc1"].shares == pytest.approx((0.25, 0.75))
    assert (plans["fc1"].costs, plans["fc2"].costs) == ("measured", "assumed")
    assert plans["fc2"].shares == pytest.approx((0.4, 0.6))


def test_the_facts_tell_what_each_expert_gets() -> None:
    model = apply(build("timm ViT"), Config(layers=("*.fc1",)))
    images = np.random.default_rng(0).integers(0, 255, (20, 32, 32, 3), dtype=np.uint8)
    data = ImageData(images, np.zeros(20, np.int64), (), "", "")
    found = expert_shares(model, torch.zeros(1, 3, 32, 32), data, Preprocess())
    assert len(found) == 6
    assert found[0]["tokens"] == (26, 39)
    assert sum(found[0]["preferred"]) == pytest.approx(1)
    assert expert_shares(model, torch.zeros(1, 3, 32, 32), None, Preprocess())[0]["preferred"] is None
    assert expert_shares(build("timm ViT"), torch.zeros(1, 3, 32, 32), None, Preprocess()) == []


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (Config(experts=("linear", "shft")), "did you mean shift"),
        (Config(experts=("linear",)), "at least two"),
        (Config(experts=("shift", "shift")), "at least two"),
        (Config(shares=(0.5, 0.6)), "add up to 1"),
        (Config(latency_ms={"48x192": (1.0,)}), "latency_ms.48x192: 2 positive numbers"),
        (Config(latency_ms={"48x191": (1.0, 2.0)}), "no layer has the shape '48x191'"),
        (Config(layers=("*.fc3",)), "names no layer"),
        (Config(exclude=("mlp",)), "exclude leaves no layer"),
    ],
)
def test_what_does_not_fit_is_said(config: Config, said: str) -> None:
    assert said in check(build("timm ViT"), config)[0]


def test_a_recipe_holds_latencies_by_shape() -> None:
    step = {"primitive_mixture": {"latency_ms": {"96x384": [2.0, 1.0]}, "measured_on": "here"}}
    recipe = build_recipe({"transforms": [step]})
    assert recipe.transforms[0].config.latency_ms == {"96x384": (2.0, 1.0)}
    assert build_recipe(dump_recipe(recipe)) == recipe
    with pytest.raises(RecipeError, match=r"primitive_mixture\.gate"):
        build_recipe({"transforms": [{"primitive_mixture": {"gate": "log_sum_exp"}}]})
    assert primitive_mixture.TRAITS.static_shape
