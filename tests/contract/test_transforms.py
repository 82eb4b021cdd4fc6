"""Every transform that is found keeps the same promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import torch
from models import timm_vit, transformers_vit
from torch import nn

import paring.transforms as package
import paring_runtimes
from paring.recipe import build_recipe
from paring.transforms import Transform, discover
from paring.transforms._spikes import SpikingNetwork
from paring_exporters import exporters, parity
from paring_exporters.request import Request
from paring_exporters.torch_reference import torch_reference
from paring_runtimes.errors import ExportError, RecipeError

FOUND = discover()


class ConvNet(nn.Module):
    """What no token transform fits."""

    input_shape = (3, 32, 32)

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3, 2, 1)
        self.head = nn.Linear(8, 7)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(pixels).relu().mean((2, 3)))


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "timm": lambda: timm_vit(depth=3),
    "transformers": transformers_vit,
    "convolutional": ConvNet,
}
NO_OP: dict[str, dict[str, Any]] = {"token_prune": {"keep_ratio": 1.0}, "token_merge": {"r": 0}}
UNROLLED = {"spike_transformer": ("tvm",)}  # loops over steps that a format does not write


def numbers(hint: Any) -> set[type]:
    """Which of int and float are in a type, however deep."""
    inner = [numbers(part) for part in get_args(hint)] if get_origin(hint) is not None else []
    return set().union(*inner) if inner else {hint} & {int, float}


def ranged(method: Transform) -> Iterator[tuple[dataclasses.Field[Any], bool]]:
    """Fields with a smallest value, and whether they are lists."""
    hints = get_type_hints(method.Config)
    for item in dataclasses.fields(method.Config):
        if "minimum" in item.metadata:
            yield item, "tuple" in str(hints[item.name])


def within(item: dataclasses.Field[Any]) -> Any:
    """A value in the middle of a field's range."""
    low, high = item.metadata["minimum"], item.metadata.get("maximum")
    return low + 2 if high is None else (low + high) / 2


def fitting(method: Transform, model: nn.Module) -> Any:
    """The defaults, or else one field set. Video and language models have tests of their own."""
    settings = [{}, *({item.name: within(item)} for item, listed in ranged(method) if not listed)]
    configs = [method.Config(**setting) for setting in settings]
    found = next((config for config in configs if not method.check(model, config)), None)
    if found is None:
        pytest.skip(f"not for such a model: {method.check(model, configs[0])[0]}")
    return found


def fitted(method: Transform) -> tuple[nn.Module, Any]:
    """A model that the method fits, and a config."""
    convolutional = build("convolutional")
    model = build() if method.check(convolutional, method.Config()) else convolutional
    return model, fitting(method, model)


def build(family: str = "timm") -> nn.Module:
    torch.manual_seed(0)
    return FAMILIES[family]().eval()


@pytest.fixture(params=sorted(FOUND))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def method(name: str) -> Transform:
    return FOUND[name]


def test_every_file_with_a_config_is_found() -> None:
    folder = Path(package.__file__).parent
    files = {p.stem for p in folder.glob("[!_]*.py") if "class Config" in p.read_text(encoding="utf-8")}
    assert set(FOUND) == files
    assert {"token_merge", "token_prune"} <= files


def test_it_opens_with_title_and_paper(method: Any) -> None:
    assert method.TRAITS.paper.startswith("https://")
    assert method.TRAITS.paper in method.__doc__.splitlines()[0]
    assert method.TRAITS.title
    assert method.TRAITS.mechanism
    assert isinstance(method.TRAITS.static_shape, bool)


def test_its_config_is_frozen_and_documented(method: Transform) -> None:
    assert method.Config.__doc__
    config = method.Config()
    hints = get_type_hints(method.Config)
    for item in dataclasses.fields(method.Config):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, item.name, None)
        told = item.metadata
        assert told.get("help"), item.name
        kinds = numbers(hints[item.name])
        if kinds:
            assert "minimum" in told, item.name
        if float in kinds:
            assert {"unit", "maximum"} <= set(told), item.name
            assert told["minimum"] < told["maximum"]
        if hints[item.name] is str:
            assert item.default in told["choices"], item.name


def test_values_beyond_a_range_are_refused_by_key(name: str, method: Transform) -> None:
    for item, listed in ranged(method):
        beyond = [item.metadata["minimum"] - 1]
        beyond += [item.metadata["maximum"] + 1] if "maximum" in item.metadata else []
        for value in beyond:
            step = {name: {item.name: [value] if listed else value}}
            with pytest.raises(RecipeError, match=rf"{name}\.{item.name}"):
                build_recipe({"transforms": [step]})


def test_it_refuses_what_it_does_not_fit_by_name(method: Transform) -> None:
    """A convolutional network; a transformer, where it is for the former."""
    model = build("convolutional")
    if not method.check(model, method.Config()):
        model = build("timm")
    before = [path for path, _ in model.named_modules()]
    reasons = method.check(model, method.Config())
    assert reasons
    assert type(model).__name__ in reasons[0]
    assert [path for path, _ in model.named_modules()] == before


@pytest.mark.parametrize("family", FAMILIES)
def test_it_keeps_the_output_and_treats_images_alone(method: Transform, family: str) -> None:
    model = build(family)
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        before = model(pixels)
        changed = method.apply(model, fitting(method, model))
        together = changed(pixels)
        alone = torch.cat([changed(image[None]) for image in pixels])
    assert not changed.training
    assert together.shape == before.shape
    assert together.isfinite().all()
    assert not torch.allclose(together, before, atol=1e-6), "it changes nothing"
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_its_no_op_setting_is_the_identity(name: str, method: Transform, family: str) -> None:
    if name not in NO_OP:
        pytest.skip("it has no setting that changes nothing")
    model = build(family)
    config, reasons = method.Config(**NO_OP[name]), method.check(model, method.Config())
    if reasons:
        pytest.skip(f"not for such a model: {reasons[0]}")
    assert method.check(model, config) == []
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        before = model(pixels)
        after = method.apply(model, config)(pixels)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)


def test_two_models_do_not_share_state(method: Transform) -> None:
    models = [fitted(method), fitted(method)]
    changed = [method.apply(*one) for one in models]
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = changed[1](pixels)
        for parameter in changed[0].parameters():
            parameter.zero_()
        assert torch.equal(changed[1](pixels), expected)
        assert torch.equal(changed[1](pixels), expected), "a call leaves something behind"


@pytest.mark.parametrize("format_name", sorted(exporters()))
def test_it_exports_and_agrees(name: str, method: Transform, format_name: str, tmp_path: Path) -> None:
    exporter = exporters()[format_name]
    if exporter.why_not() is not None:
        pytest.skip(exporter.why_not())
    changed = method.apply(*fitted(method))
    if getattr(exporter, "TAKES", None) == "spiking networks" and not isinstance(changed, SpikingNetwork):
        with pytest.raises(ExportError, match=r"is no spiking network; convert it with|NIR has no node for"):
            exporter.export(changed, Request(torch.randn(2, 3, 32, 32)), tmp_path)
        return
    if format_name in UNROLLED.get(name, ()):
        with pytest.raises(ExportError, match=r"export\.format onnx"):
            exporter.export(changed, Request(torch.randn(2, 3, 32, 32)), tmp_path)
        return
    exported = exporter.export(changed, Request(torch.randn(2, 3, 32, 32)), tmp_path)
    inputs = parity.cases(3, [(32, 32)], [1, 3], [0])
    with (
        paring_runtimes.load(exported.entry) as session,
        torch_reference(changed, ["logits"], exported, "fp32") as reference,
    ):
        found = parity.compare(reference, lambda x: session.run({"pixel_values": x}), inputs, "fp32")
    assert found.passed, found.failure()
