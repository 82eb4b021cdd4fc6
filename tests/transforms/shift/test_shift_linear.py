"""The transform: which layers it changes, and what it refuses."""

from __future__ import annotations

import copy

import pytest
import torch
from models import FAMILIES, build, timm_vit, transformers_vit
from torch import nn

from paring.parameters import parameter_count
from paring.transforms import shift_linear, token_prune
from paring.transforms._opening import canonical
from paring.transforms._shift import Form, Patchwise, ShiftLinear, frozen, trainable
from paring.transforms._shift.choice import candidates, kind
from paring.transforms._shift.sensitivity import LayerSensitivity, advised, sensitivity, snr_db
from paring.transforms.shift_linear import Config


def shifting(model: nn.Module) -> set[str]:
    return {path for path, module in model.named_modules() if isinstance(module, ShiftLinear)}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_shifts_near_its_output(family: str) -> None:
    model = build(family)
    x = torch.randn(2, 3, 32, 32)
    config = Config(layers=("all",), bits=5, terms=2)
    assert shift_linear.check(model, config) == []
    with torch.inference_mode():
        before = model(x)
        after = shift_linear.apply(model, config)(x)
    assert not [m for m in model.modules() if isinstance(m, nn.Linear) and m.in_features > 1]
    assert 15 < snr_db(before, after) < 80


@pytest.mark.parametrize(
    ("layers", "count"), [("mlp", 4), ("attention", 8), ("patch_embed", 1), ("head", 1), ("all", 14)]
)
@pytest.mark.parametrize("make", [lambda: timm_vit(depth=2), transformers_vit])
def test_kinds(layers: str, count: int, make: object) -> None:
    model = make().eval()
    depth = 2 if count and "VisionTransformer" in type(model).__name__ else 6
    model = shift_linear.apply(model, Config(layers=(layers,)))
    per_block = (
        count if layers in ("patch_embed", "head") else (count - (2 if layers == "all" else 0)) // 2 * depth
    )
    assert len(shifting(model)) == per_block + (2 if layers == "all" else 0)


@pytest.mark.parametrize("order", [(token_prune, shift_linear), (shift_linear, token_prune)])
@pytest.mark.parametrize("make", [lambda: timm_vit(depth=3), transformers_vit])
def test_it_composes_with_pruning_in_either_order(order: tuple[object, object], make: object) -> None:
    torch.manual_seed(0)
    model = make().eval()
    configs = {token_prune: token_prune.Config(blocks=(2,)), shift_linear: Config(layers=("all",))}
    for method in order:
        assert method.check(model, configs[method]) == []
        model = method.apply(model, configs[method])
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    assert any(isinstance(module, token_prune.PruneTokens) for module in model.modules())
    assert shifting(model)


def test_plain_models_take_patterns_and_all() -> None:
    def net() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(3, 8, 4, 4), nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4)
        )

    model = shift_linear.apply(net(), Config(layers=("all",)))
    assert shifting(model) == {"0.linear", "2", "4"}
    assert isinstance(model[0], Patchwise)
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 4)
    config = Config(layers=("all",), exclude=("0",), two_term=("4",))
    model = shift_linear.apply(net(), config)
    assert shifting(model) == {"2", "4"}
    assert [len(model[place].terms) for place in (2, 4)] == [1, 2]
    assert isinstance(shift_linear.apply(nn.Linear(4, 4), Config(layers=("all",))), ShiftLinear)


def test_what_does_not_fit_is_said_with_a_path_and_a_fix() -> None:
    model = timm_vit(depth=2)
    before = copy.deepcopy(model.state_dict())

    def only(**settings: object) -> str:
        (reason,) = shift_linear.check(model, Config(**settings))
        return reason

    assert "did you mean 'blocks.blocks.0.mlp.fc1'" in only(layers=("blocks.0.mlp.fc1",))
    assert "exclude: 'nothing'" in only(exclude=("nothing",))
    assert "exclude leaves no layer" in only(exclude=("all",))
    reasons = shift_linear.check(model, Config(scale="group", group_size=32))
    assert len(reasons) == 2
    assert reasons[0] == "blocks.blocks.0.mlp.fc1 has 48 inputs, no multiple of group_size 32; 24 fits"
    assert "take 'all'" in shift_linear.check(nn.Sequential(nn.Linear(4, 4)), Config())[0]
    conv = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 4))
    assert (
        "0 is a Conv2d whose kernel is not its stride"
        in shift_linear.check(conv, Config(layers=("0", "1")))[0]
    )
    assert shift_linear.check(conv, Config(layers=("all",))) == []
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), "a check changes the model"
    model.blocks[1].mlp.fc1.weight.data[0, 0] = torch.nan
    assert "blocks.1.mlp.fc1.weight holds values that are not finite" in only()


def test_weights_that_others_read_are_left_alone() -> None:
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)).eval()
    assert "0.self_attn.out_proj" not in candidates(model)
    model = shift_linear.apply(model, Config(layers=("all",)))
    assert shifting(model) == {"0.linear1", "0.linear2"}
    assert model(torch.randn(1, 3, 8)).shape == (1, 3, 8)


def test_kinds_by_name() -> None:
    known = {
        "model.vit.encoder.layer.0.attention.output.dense": "attention",
        "encoder.layer.3.intermediate.dense": "mlp",
        "embeddings.patch_embeddings.projection": "patch_embed",
        "cls_classifier": "head",
        "projector.0": "other",
    }
    assert {path: kind(path) for path in known} == known


def test_a_trained_model_is_frozen_where_it_was() -> None:
    torch.manual_seed(0)
    plain = canonical(timm_vit(depth=2).eval())
    model = shift_linear.apply(copy.deepcopy(plain), Config(layers=("all",), two_term=("head",)))
    x = torch.randn(2, 3, 32, 32)
    before, places = model(x), shifting(model)
    model = trainable(model, plain)
    torch.testing.assert_close(model(x), before, atol=1e-5, rtol=1e-5)
    assert not shifting(model)
    latent = dict(model.named_modules())["patch_embed.proj.linear"].latent
    assert torch.equal(latent, plain.patch_embed.proj.weight.flatten(1)), "the float original is the start"
    model = frozen(model)
    assert shifting(model) == places
    torch.testing.assert_close(model(x), before, atol=1e-5, rtol=1e-5)


def test_sensitivity_is_of_each_layer_alone_and_leaves_the_model() -> None:
    torch.manual_seed(0)
    model = canonical(timm_vit(depth=2).eval())
    before = copy.deepcopy(model.state_dict())
    inputs = [torch.randn(3, 3, 32, 32), torch.randn(2, 3, 32, 32)]
    with torch.inference_mode():
        whole = torch.cat([model(x) for x in inputs])
    layers = {path: layer for path, layer in candidates(model).items() if kind(path) in ("mlp", "head")}
    found = list(sensitivity(model, layers, Form(), inputs, whole.argmax(-1)))
    assert [one.path for one in found] == list(layers)
    assert model.state_dict().keys() == before.keys()
    assert not shifting(model)
    for one in found:
        assert 10 < one.snr_db < one.two_term_snr_db
        assert one.drop is not None
        assert 0 <= one.drop <= 1
    config = Config(layers=("blocks.blocks.1.mlp.fc2",))
    with torch.inference_mode():
        alone = shift_linear.apply(copy.deepcopy(model), config)
        expected = snr_db(whole, torch.cat([alone(x) for x in inputs]))
    measured = next(one for one in found if one.path == config.layers[0])
    assert measured.snr_db == pytest.approx(expected, abs=1e-3)


def test_advice() -> None:
    found = [
        LayerSensitivity("good", "mlp", 1, 30, 50, 0.0, 0.0),
        LayerSensitivity("noisy", "mlp", 1, 10, 25, 0.0, 0.0),
        LayerSensitivity("lossy", "mlp", 1, 30, 50, 0.2, 0.0),
        LayerSensitivity("bad", "mlp", 1, 5, 15, 0.3, 0.3),
    ]
    told = {one.path: one.advice for one in advised(found, 20, 0.1)}
    assert told == {"good": "shift", "noisy": "two_term", "lossy": "two_term", "bad": "exclude"}
    assert [one.path for one in advised(found, 20)][:2] == ["bad", "noisy"]
    assert {one.path: one.advice for one in advised(found, 20)}["lossy"] == "shift"


@pytest.mark.parametrize("terms", [1, 2])
def test_packed_weights_are_parameters_too(terms: int) -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4, bias=False))
    shifted = shift_linear.apply(copy.deepcopy(model), Config(layers=("all",), terms=terms))
    assert parameter_count(shifted) == parameter_count(model) == 6 * 5 + 5 + 5 * 4
