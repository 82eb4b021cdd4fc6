"""Whole transformers as spikes: equal to their quantised form, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from models import timm_vit, transformers_clip, transformers_dinov2, transformers_vit
from stepwise import OneStep
from torch import nn

from paring.recipe import build_recipe
from paring.transforms import spike_transformer, token_prune
from paring.transforms._spikes.bipolar import SpikingTrunk, find, quantised, spiking
from paring.transforms._spikes.bipolar.time import OnePass, Steps
from paring.transforms.spike_transformer import Config
from paring_runtimes.errors import RecipeError

T = 64  # more than any of these takes to settle
FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "timm": lambda: timm_vit(depth=2),
    "timm, layer scale and normed queries": lambda: timm_vit(depth=1, init_values=0.5, qk_norm=True),
    "ViT": lambda: transformers_vit(1),
    "CLIP": lambda: transformers_clip(1),
    "DINOv2": lambda: transformers_dinov2(1),
}


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def converted(family: str = "timm", **fields: int) -> nn.Module:
    """In float64, so that no sum rounds to the other side of a threshold."""
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
    changed = spike_transformer.apply(model, Config(**{"steps": T, "levels": 8, **fields}))
    return spike_transformer.calibrate(changed, [images(8)]).double()


@pytest.mark.parametrize("family", FAMILIES)
def test_settled_spikes_answer_as_the_quantised_form(family: str) -> None:
    model = converted(family)
    trunk = find(model)
    assert isinstance(trunk, SpikingTrunk)
    x = images().double()
    with torch.inference_mode():
        found = model(x)
        with trunk.running(Steps(T), each=True):
            each = model(x).unflatten(0, (T, -1))
        wanted = quantised(copy.deepcopy(model))(x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)
    torch.testing.assert_close(each[-1], found, rtol=0, atol=1e-10)
    assert not torch.allclose(each[5], wanted, atol=1e-3), "it would have settled at once"
    torch.testing.assert_close(each[-1], each[-10], rtol=0, atol=1e-10)


def test_every_neuron_ends_at_its_code_and_fires_as_step_by_step() -> None:
    """Against a reference that keeps membranes and tracers, and multiplies as the paper does."""
    model = converted()
    trunk = find(model)
    assert isinstance(trunk, SpikingTrunk)
    x = torch.randn(2, 65, 48, dtype=torch.float64)
    spikes, codes, reference = _fired(trunk, x, Steps(T)), _fired(trunk, x, OnePass()), OneStep()
    with torch.inference_mode():
        for step in range(T):
            reference.again()
            trunk.over(x if step == 0 else torch.zeros_like(x), reference)
            for mine, other in zip(spikes, reference.spikes, strict=True):
                assert torch.equal(mine[step], other)
    for fired, code in zip(spikes, codes, strict=True):
        assert torch.equal(fired.sum(0), code)
        assert not fired[-1].any()
        assert {-1, 0, 1} >= set(fired.unique().tolist())
    assert sum(int((fired < 0).sum()) for fired in spikes) > 100


def _fired(trunk: SpikingTrunk, x: torch.Tensor, time: Steps | OnePass) -> list[torch.Tensor]:
    """What every layer of neurons gives: spikes [T, B, ...], or codes [B, ...]."""
    found = []
    fire = time.fire

    def kept(*given: object) -> torch.Tensor:
        found.append(fire(*given))  # type: ignore[arg-type]
        return found[-1]

    time.fire = kept  # type: ignore[method-assign]
    with torch.inference_mode():
        trunk.over(time.entering(x) if isinstance(time, Steps) else x, time)
    return [one.unflatten(0, (T, -1)) for one in found] if isinstance(time, Steps) else found


def test_finer_codes_come_nearer_to_the_model() -> None:
    torch.manual_seed(0)
    original = FAMILIES["timm"]().eval().double()
    errors = []
    with torch.inference_mode():
        wanted = original(images().double())
        for levels in (4, 8, 32, 128):
            found = quantised(converted(levels=levels))(images().double())
            errors.append(float((found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05


def test_training_reaches_thresholds_and_weights_and_keeps_every_name() -> None:
    model = converted().float()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model = spike_transformer.trainable(model).train()
    model(images()).square().sum().backward()
    trunk = find(model)
    assert trunk is not None
    for name, neurons in trunk.neurons().items():
        assert neurons.log_threshold.grad is not None, name
    assert all(value.grad is not None and value.grad.any() for value in trunk.blocks[0].query.parameters())
    model = spike_transformer.frozen(model).eval()
    assert isinstance(find(model), SpikingTrunk)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_no_step_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"spike_transformer\.steps"):
        build_recipe({"transforms": [{"spike_transformer": {"steps": 0}}]})
    assert spike_transformer.check(timm_vit(), Config(steps=0)) == ["steps: 0, expected at least 1"]
    with pytest.raises(ValueError, match="steps: 0, expected at least 1"):
        SpikingTrunk([], 0)


def test_weights_that_are_no_numbers_are_named() -> None:
    model = timm_vit(depth=2)
    with torch.no_grad():
        model.get_parameter("blocks.1.mlp.fc1.weight")[0, 0] = float("nan")
    assert spike_transformer.check(model, Config()) == [
        "blocks.1.mlp.fc1.weight holds values that are not finite"
    ]


def test_images_that_are_no_numbers_are_refused() -> None:
    model = spike_transformer.apply(timm_vit(depth=1).eval(), Config(levels=8))
    with pytest.raises(ValueError, match="not finite reach the neurons"):
        spike_transformer.calibrate(model, [torch.full((2, 3, 32, 32), float("nan"))])


def test_what_does_not_convert_is_named_with_what_would() -> None:
    from timm.layers import SwiGLU

    gated = timm_vit(depth=2, mlp_layer=SwiGLU)
    (first, _) = spike_transformer.check(gated, Config())
    assert first.startswith("VisionTransformer: blocks.0.mlp.")
    assert "fc1, an activation and fc2, both nn.Linear, converts" in first
    pruned = token_prune.apply(timm_vit(depth=4).eval(), token_prune.Config(keep_ratio=0.5, blocks=(2,)))
    (line,) = spike_transformer.check(pruned, Config())
    assert "blocks.blocks.1" in line
    assert "keeps its tokens converts" in line
    (again,) = spike_transformer.check(converted(), Config())
    assert "already" in again
    (line,) = spike_transformer.check(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), Config())
    assert "no transformer encoder found in Sequential" in line
    assert "spike_convert takes convolutional networks" in line


def test_a_check_leaves_the_model_as_it_is() -> None:
    model = timm_vit(depth=2)
    before = [path for path, _ in model.named_modules()]
    assert spike_transformer.check(model, Config()) == []
    assert [path for path, _ in model.named_modules()] == before


def test_forms_are_exchanged_over_the_same_blocks() -> None:
    model = converted()
    blocks = find(model).opened()  # type: ignore[union-attr]
    assert find(quantised(model)).opened() == blocks  # type: ignore[union-attr]
    assert find(spiking(model)).opened() == blocks  # type: ignore[union-attr]


def test_too_few_steps_are_told_with_how_many_would_do() -> None:
    model = converted(steps=4)
    (note,) = spike_transformer.notes(model, images().double())
    assert "after 4 steps neurons still fire on 2 of 2 images" in note
    last = int(note.partition("at step ")[2].partition(":")[0])
    assert spike_transformer.notes(converted(steps=last + 1), images().double()) == []
    assert spike_transformer.notes(converted(steps=last), images().double())
