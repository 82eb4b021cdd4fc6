"""Trained networks of every form become spiking ones whose error falls with the steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from networks import KINDS, Residual, images, made
from torch import nn

from paring.transforms import spike_convert
from paring.transforms._spikes import IntegrateFire, SpikingNetwork, conversion, integrate_fire
from paring.transforms._spikes.conversion import rectified
from paring.transforms._spikes.layers import MaxPool
from paring.transforms._spikes.refitting import refitted, replaced
from paring.transforms.spike_convert import Config, apply, calibrate, check


def converted(model: nn.Module, config: Config) -> SpikingNetwork:
    """Fitted to normally distributed images."""
    return conversion.converted(model, [images(32, model, seed=1)], config.wanted())


def error(network: nn.Module, model: nn.Module) -> float:
    """Of the answers, relative to the trained network's spread."""
    x = images(32, model, seed=2)
    with torch.inference_mode():
        wanted, found = model(x), network(x)
    return float(((found - wanted).square().mean() / wanted.var()).sqrt())


@pytest.mark.parametrize("name", KINDS)
def test_what_is_converted_computes_the_same(name: str) -> None:
    model = made(name)
    x = images(5, model)
    body = rectified(model, tuple(x.shape[1:]))
    assert not any(isinstance(module, (MaxPool, nn.BatchNorm2d)) for module in body.modules())
    with torch.inference_mode():
        torch.testing.assert_close(body(x), model(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_the_error_falls_with_the_steps(name: str) -> None:
    model = made(name)
    errors = [error(converted(model, Config(steps=steps)), model) for steps in (4, 16, 64)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1


@pytest.mark.parametrize(
    "config",
    [
        Config(threshold="max", per="layer", initial=0.0, compensate=False),
        Config(threshold="percentile", percentile=99.9, per="layer"),
        Config(threshold="mse", per="layer"),
        Config(coding="rate"),
    ],
    ids=lambda config: f"{config.threshold}-{config.per}-{config.coding}",
)
def test_every_rule_and_coding_approaches_the_trained_network(config: Config) -> None:
    model = made("Residual")
    few = error(converted(model, replace(config, steps=8)), model)
    many = error(converted(model, replace(config, steps=64)), model)
    assert many < 0.6 * few


def test_latency_coding_approaches_it_too() -> None:
    model = made("Residual")
    assert error(converted(model, Config(steps=16, coding="latency")), model) < 0.1


def test_apply_works_without_images_and_calibrate_fits_to_them() -> None:
    model = made("Residual")
    assert check(model, Config(steps=16)) == []
    plain = apply(model, Config(steps=16))
    fitted = calibrate(plain, [images(32, model, seed=1)], model)
    assert plain.state_dict().keys() == fitted.state_dict().keys()
    assert error(plain, model) < 0.3
    assert error(fitted, model) < 0.3


def test_hard_reset_loses_what_is_over() -> None:
    model = made("Perceptron")
    soft, hard = (error(converted(model, Config(steps=64, reset=reset)), model) for reset in ("soft", "hard"))
    assert soft < hard < 0.5


def test_compensation_and_the_least_squares_threshold_help_where_steps_are_few() -> None:
    model = made("Residual")
    plain = Config(steps=8, threshold="max", compensate=False)
    errors = [
        error(converted(model, config), model)
        for config in (
            plain,
            replace(plain, compensate=True),
            replace(plain, threshold="mse", compensate=True),
        )
    ]
    assert errors == sorted(errors, reverse=True)


def test_compensated_layers_have_the_trained_means() -> None:
    model = made("Residual")
    x = images(32, model, seed=1)
    network = converted(model, Config(steps=16))
    body = rectified(model, tuple(x.shape[1:]))
    means: dict[str, torch.Tensor] = {}
    for name in network.neurons():
        module = body.get_submodule(name)
        module.register_forward_hook(
            lambda m, i, out, name=name: means.__setitem__(name, out.mean((0, 2, 3)))
        )
    with torch.inference_mode():
        body(x)
    for name, spikes in network.trace(x).items():
        threshold = network.neurons()[name].threshold
        found = (spikes * threshold).mean((0, 1, 3, 4))
        assert (found - means[name]).abs().max() < 0.1 * threshold.max() / 16 + 0.02 * means[name].max()


def test_spikes_are_bits_and_all_else_is_what_neuromorphic_formats_say() -> None:
    network = converted(made("Pooled"), Config(steps=8))
    for spikes in network.trace(images(4, made("Pooled"))).values():
        assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    kinds = {type(module).__name__ for module in network.body.modules() if not list(module.children())}
    assert kinds <= {"Conv2d", "Linear", "Flatten", "IntegrateFire", "Scale", "AvgPool2d", "Module"}


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_step_by_step_gives_what_a_sequence_gives(reset: str) -> None:
    model = made("Residual")
    network = converted(model, Config(steps=6, reset=reset))
    x = images(3, model)
    with torch.inference_mode():
        at_once, outputs, state = network(x), [], None
        for current in network.encoder(x):
            found, state = network.step(current, state)
            outputs.append(found)
    torch.testing.assert_close(torch.stack(outputs).mean(0), at_once)


def test_a_rate_coded_answer_is_the_same_twice_and_alone() -> None:
    model = made("Residual")
    network = converted(model, Config(steps=16, coding="rate", seed=3))
    x = images(3, model)
    with torch.inference_mode():
        together = network(x)
        assert torch.equal(network(x), together)
        torch.testing.assert_close(torch.cat([network(one[None]) for one in x]), together)


def test_the_input_codings_keep_the_mean() -> None:
    model = made("Residual")
    x = images(4, model).clamp(-2, 2)
    latency = converted(model, Config(steps=8, coding="latency")).encoder(x)
    torch.testing.assert_close(latency.mean(0), x)
    assert ((latency != 0).sum(0) <= 1).all()
    rate = converted(model, Config(steps=128, coding="rate")).encoder(x)
    assert (rate.mean(0) - x).abs().mean() < 0.15
    assert len(rate.abs().unique()) <= 2


def test_the_paths_of_modules_and_functions_name_the_neurons() -> None:
    network = converted(made("Residual"), Config(steps=4))
    assert list(network.neurons()) == ["functional_relu", "act", "act_1"]
    assert all(isinstance(neurons, IntegrateFire) for neurons in network.neurons().values())


def test_the_model_given_is_left_as_it_is() -> None:
    model = made("Residual")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    converted(model, Config(steps=4))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Unfit(Residual):
    """With a SiLU and a concatenation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.silu(self.norm(self.stem(x)))
        return self.head(torch.cat([x[:, :4], x[:, 4:]], 1).mean((2, 3)))


def test_what_does_not_convert_is_named_with_the_nearest_that_does() -> None:
    reasons = "\n".join(check(Unfit().eval(), Config()))
    assert "functional_silu (silu)" in reasons
    assert "ReLU or ReLU6" in reasons
    assert "functional_cat (cat)" in reasons


def test_max_pooling_may_be_refused_by_name() -> None:
    reasons = check(made("Pooled"), Config(max_pool="refuse"))
    assert any("wide" in reason and "average pooling" in reason for reason in reasons)


def test_weights_that_are_not_finite_are_refused_by_path() -> None:
    model = made("Residual")
    with torch.no_grad():
        model.point.weight[0, 0] = float("nan")  # type: ignore[union-attr,operator]
    assert check(model, Config()) == ["point.weight holds values that are not finite"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 0}, "steps: 0, expected at least 1"),
        ({"initial": 2.0}, "initial: 2.0, expected at most 1"),
        ({"threshold": "median"}, "threshold: 'median', expected one of mse, max, percentile"),
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, object], said: str) -> None:
    (reason,) = check(made("Residual"), Config(**change))  # type: ignore[arg-type]
    assert said in reason


def test_an_input_of_another_shape_is_refused() -> None:
    network = converted(made("Residual"), Config(steps=2))
    with pytest.raises(ValueError, match=r"inputs \[B, 3, 16, 16\], given \[1, 3, 8, 8\]"):
        network(torch.zeros(1, 3, 8, 8))


def test_a_model_that_does_not_say_its_shape_must_be_told() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
    (reason,) = check(model, Config())
    assert "spike_convert.input_shape" in reason
    assert check(model, Config(input_shape=(3, 8, 8))) == []
    (reason,) = check(model, Config(input_shape=(3, 9, 9)))
    assert "does not run as a graph on inputs [2, 3, 9, 9]" in reason


def test_calibration_images_must_have_the_networks_shape() -> None:
    model = made("Residual")
    with pytest.raises(ValueError, match=r"\[3, 8, 8\], expected \[3, 16, 16\]"):
        calibrate(apply(model, Config(steps=2)), [torch.zeros(1, 3, 8, 8)], model)


def test_trained_rates_are_those_of_the_frozen_neurons() -> None:
    """With constant currents, so in the first layer: QCFS with L levels is T = L steps."""
    model = made("Residual")
    network = converted(model, Config(steps=8, levels=8, compensate=False))
    x = images(8, model)
    name = next(iter(network.neurons()))
    training = spike_convert.trainable(network)
    seen = []
    training.body.get_submodule(name).register_forward_hook(lambda m, i, out: seen.append(out))
    training(x).square().mean().backward()
    assert training.body.get_submodule(name).ceiling.grad.abs().sum() > 0
    frozen = spike_convert.frozen(training)
    assert isinstance(frozen, SpikingNetwork)
    rates = frozen.trace(x)[name].mean(0)
    assert ((rates - seen[0]).abs() > 1e-6).float().mean() < 1e-3  # a sum may round to the other side


@pytest.mark.parametrize(("reset", "coding"), [("soft", "constant"), ("hard", "constant"), ("soft", "rate")])
def test_rates_trained_as_they_fire_are_what_runs(reset: str, coding: str) -> None:
    model = made("Residual")
    config = Config(steps=8, reset=reset, coding=coding, training="fired", compensate=False)
    training = spike_convert.trainable(calibrate(apply(model, config), [images(8, model)], model))
    x = images(6, model)
    answers = training(x)
    answers.square().mean().backward()
    assert all(layer.ceiling.grad.abs().sum() > 0 for layer in training.layers().values())
    frozen = spike_convert.frozen(training)
    torch.testing.assert_close(frozen(x), answers.detach())


def test_training_what_fires_brings_few_steps_nearer_to_the_trained_network() -> None:
    model, x = made("Residual"), images(16, made("Residual"))
    exact = model(x).detach()
    config = Config(steps=4, training="fired", compensate=False)
    network = calibrate(apply(model, config), [x], model)
    before = (network(x) - exact).square().mean()
    training = spike_convert.trainable(network)
    optimizer = torch.optim.Adam(training.parameters(), lr=2e-3)
    for _ in range(30):
        optimizer.zero_grad()
        (training(x) - exact).square().mean().backward()
        optimizer.step()
    after = (spike_convert.frozen(training)(x) - exact).square().mean()
    assert after < 0.5 * before


@pytest.mark.parametrize("per", ["channel", "layer"])
@pytest.mark.parametrize("name", list(KINDS))
def test_another_threshold_is_made_up_for_by_who_reads_it(name: str, per: str) -> None:
    """Over many steps the answers stay the same."""
    model = made(name)
    network = converted(model, Config(steps=400, threshold="max", per=per, compensate=False))
    before = error(network, model)
    for node in network.body.graph.nodes:
        if node.op == "call_module" and str(node.target) in network.neurons():
            replaced(network.body, node, 1.25 * network.neurons()[str(node.target)].threshold)
    assert error(network, model) < 2 * before + 0.02


def test_thresholds_fitted_to_what_arrives_are_nearer_to_the_activations() -> None:
    """Uneven currents, [T, C, S] = [8, 3, 400]: what is left after each channel's mean falls."""
    generator = torch.Generator().manual_seed(0)
    exact = torch.rand(3, 400, generator=generator) * torch.tensor([[1.0], [2.0], [4.0]])
    bursts = (torch.rand(8, 3, 400, generator=generator) < 0.5).float() * 2
    before = IntegrateFire(torch.full((3, 1, 1), 1.7), torch.full((3, 1, 1), 0.85), steps=8)

    def left(threshold: torch.Tensor) -> torch.Tensor:
        flat = threshold.reshape(-1, 1)
        spikes = integrate_fire(bursts * exact, flat, flat / 2, False, 0.0)
        return (spikes.mean(0) * flat - exact).var(1)

    fitted = refitted(before, bursts * exact, exact, None)
    assert fitted.shape == before.threshold.shape
    assert (left(fitted) <= left(before.threshold)).all()
    assert (left(fitted) < 0.95 * left(before.threshold)).any()
