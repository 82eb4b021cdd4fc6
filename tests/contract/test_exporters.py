"""Every exporter that is found keeps the same promises."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

import paring_exporters as package
import paring_runtimes
from paring_exporters import exporters
from paring_exporters.request import Request
from paring_runtimes.engines import engines
from paring_runtimes.errors import ExportError, MissingExtraError

FOUND = exporters()


class TwoHeads(nn.Module):
    """[B, 3, 8, 8] -> [B, 5] and [B, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(3, 4, 3, 2, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.trunk(pixels).relu().mean((2, 3))
        return self.head(features), features


class Masked(nn.Module):
    """Keeps what is above zero: how much is known only from the values."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        kept = pixels[pixels > 0]
        return kept * 2 if kept.shape[0] > 3 else kept


def request_for_two() -> Request:
    names = ("logits", "features")
    return Request(torch.randn(2, 3, 8, 8), input_name="image", output_names=names)


@pytest.fixture(params=sorted(FOUND))
def exporter(request: pytest.FixtureRequest) -> ModuleType:
    return FOUND[request.param]


def test_what_it_never_writes_it_refuses_before_there_is_a_model(exporter: ModuleType) -> None:
    plain = request_for_two()
    if not hasattr(exporter, "refusal"):
        return
    assert exporter.refusal(plain) is None
    for other in ({"precision": "fp16"}, {"dynamic": ("batch", "image_size")}):
        reason = exporter.refusal(dataclasses.replace(plain, **other))
        assert reason.startswith(f"{exporter.NAME}: ")


@pytest.fixture
def usable(exporter: ModuleType) -> ModuleType:
    if exporter.why_not() is not None:
        pytest.skip(exporter.why_not())
    return exporter


@pytest.fixture
def general(usable: ModuleType) -> ModuleType:
    """An exporter of any network; those of spiking ones alone have tests of their own."""
    if getattr(usable, "TAKES", "") == "spiking networks":
        pytest.skip(f"{usable.NAME} takes {usable.TAKES}")
    return usable


def test_every_file_is_an_exporter_named_after_it() -> None:
    files = {path.stem for path in (Path(package.__file__).parent / "formats").glob("[!_]*.py")}
    assert set(FOUND) == files
    assert "onnx" in FOUND
    for name, module in FOUND.items():
        assert module.__name__ == f"{package.__name__}.formats.{name}"
        assert module.__doc__


def test_some_engine_runs_its_format(exporter: ModuleType) -> None:
    assert any(exporter.NAME in engine.FORMATS for engine in engines().values())


def test_it_works_or_says_in_a_line_what_mends_it(exporter: ModuleType) -> None:
    reason = exporter.why_not()
    assert reason is None or ("\n" not in reason and reason.strip())


def test_without_its_packages_it_names_the_command(
    exporter: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for place in (importlib.util, exporter):
        monkeypatch.setattr(place, "find_spec", lambda *names: None, raising=False)
    assert "pip install 'paring[" in exporter.why_not()
    with pytest.raises(MissingExtraError, match=r"pip install 'paring\["):
        exporter.export(TwoHeads(), request_for_two(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_it_writes_computes_the_model(general: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = TwoHeads().eval()
    found = general.export(model, request_for_two(), tmp_path)
    assert found.entry.parent == tmp_path
    assert [(spec.name, spec.dtype) for spec in found.inputs] == [("image", "float32")]
    assert [spec.name for spec in found.outputs] == ["logits", "features"]
    assert found.facts["precision"] == "fp32"
    with paring_runtimes.load(found.entry) as session:
        assert [spec.name for spec in session.inputs] == ["image"]
        for batch in (1, 2, 5):
            pixels = torch.randn(batch, 3, 8, 8)
            actual = session.run({"image": pixels.numpy()})
            with torch.inference_mode():
                expected = dict(zip(("logits", "features"), model(pixels), strict=True))
            for name, value in expected.items():
                np.testing.assert_allclose(actual[name], value, atol=1e-5, rtol=1e-4)


def test_the_model_given_is_left_as_it_was(usable: ModuleType, tmp_path: Path) -> None:
    model = TwoHeads().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    half = Request(torch.randn(2, 3, 8, 8), output_names=("a", "b"), precision="fp16")
    try:
        usable.export(model, half, tmp_path)
    except ExportError as refusal:
        if "export.precision" not in str(refusal):
            raise
    assert not model.training
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])


def test_data_dependent_shapes_are_refused_quietly(
    general: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ExportError, match="depends on the values of another") as refused:
        general.export(Masked(), Request(torch.rand(2, 3, 8, 8)), tmp_path)
    assert "\n" not in str(refused.value)
    assert f"{Path(__file__).name}:" in str(refused.value)
    assert not list(tmp_path.iterdir())
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out == ""
