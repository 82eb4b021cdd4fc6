"""Images that a recipe names for what is fitted to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import paring
from paring.data import Preprocess
from paring.opening import calibration_batches
from paring.recipe import build_recipe
from paring.transforming import transform
from paring.transforms import additive_attention
from paring_runtimes import read_manifest
from paring_runtimes.errors import RecipeError, TransformRefused

STEP = {"additive_attention": {"blocks": [1]}}


@pytest.fixture
def archive(tmp_path: Path) -> str:
    images = np.random.default_rng(0).integers(0, 256, (100, 28, 28), np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.arange(100) % 10)
    return f"npz:{tmp_path / 'images.npz'}"


def batches(recipe: dict[str, Any], otherwise: np.ndarray | None = None) -> list[list[int]]:
    found = calibration_batches(build_recipe(recipe), Preprocess(channels=1), lambda stage: None, otherwise)
    return [list(batch.shape) for batch in found]


def test_named_images_come_in_batches_as_the_model_takes_them(archive: str) -> None:
    recipe = {"transforms": [STEP], "calibration": {"source": archive}}
    assert batches(recipe) == [[64, 1, 28, 28], [36, 1, 28, 28]]
    recipe["calibration"]["limit"] = 10
    assert batches(recipe, np.zeros((3, 28, 28, 1), np.uint8)) == [[10, 1, 28, 28]]


def test_without_a_name_there_are_those_at_hand_or_none(archive: str) -> None:
    assert batches({"transforms": [STEP]}) == []
    assert batches({"transforms": [STEP]}, np.zeros((3, 28, 28, 1), np.uint8)) == [[3, 1, 28, 28]]
    assert batches({"transforms": ["token_prune"]}, np.zeros((3, 28, 28, 1), np.uint8)) == []


def test_images_that_nothing_is_fitted_to_are_refused(archive: str) -> None:
    with pytest.raises(RecipeError, match="calibration: neither a transform"):
        batches({"transforms": ["token_prune"], "calibration": {"source": archive}})


def test_each_step_is_fitted_with_the_model_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from paring.sources import load_model

    seen: list[Any] = []

    def calibrate(model: torch.nn.Module, images: Any, original: torch.nn.Module) -> torch.nn.Module:
        seen.append((model, images, original))
        return model

    monkeypatch.setattr(additive_attention, "calibrate", calibrate)
    model, images = load_model("embedded").model, [torch.zeros(1, 1, 30, 30)]
    assert model is not None
    expected = model(images[0])
    changed = transform(model, build_recipe({"transforms": ["token_merge", STEP]}), images)
    ((fitted, given, original),) = seen
    assert fitted is changed
    assert given is images
    assert original is not changed
    merged = transform(load_model("embedded").model, build_recipe({"transforms": ["token_merge"]}))
    torch.testing.assert_close(original(images[0]), merged(images[0]))
    assert not torch.allclose(original(images[0]), expected)


def test_half_precision_is_refused() -> None:
    from paring.sources import load_model

    recipe = build_recipe({"transforms": [STEP], "export": {"precision": "fp16"}})
    with pytest.raises(TransformRefused, match="fp32 is needed"):
        transform(load_model("embedded").model, recipe)


@pytest.mark.slow
def test_the_line_from_images_to_artifact(archive: str, tmp_path: Path) -> None:
    found = paring.convert(
        "embedded",
        tmp_path / "out",
        transforms=["additive_attention"],
        calibration={"source": archive},
        data={"source": "embedded", "limit": 50},
        export={"baseline": False},
        verify={"batch_sizes": [1, 3], "seeds": [0]},
    )
    manifest = read_manifest(found.artifact)
    assert manifest.parity is not None
    assert manifest.parity["passed"]
    assert manifest.parity["ties"] == 0
    assert manifest.recipe["calibration"] == {"source": archive, "limit": 256}
    assert set(manifest.files) == {"model.onnx"}
