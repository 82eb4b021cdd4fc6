"""`convert` as a whole: what it writes, what it refuses, and that it leaves nothing half-done."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import paring
import paring.pipeline as pipeline
import paring_runtimes
from paring.gates import gate
from paring.pipeline import Converted, transform
from paring.quality import Quality
from paring.recipe import build_recipe
from paring.sources import digest, load_model
from paring_runtimes import read_manifest
from paring_runtimes.artifact import verify_files
from paring_runtimes.errors import (
    ArtifactError,
    ExportError,
    GateError,
    ParityError,
    RecipeError,
    TransformRefused,
)

QUICK = {"batch_sizes": [1, 2], "seeds": [0]}
DATA = {"source": "embedded", "limit": 20, "channels": 1}
TOP1 = {"metric": "top1", "max_drop": 0.0}


@pytest.fixture(scope="module")
def pruned(factories: Path, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    return paring.convert(
        f"py:{factories}:vit",
        tmp_path_factory.mktemp("pruned") / "vit",
        transforms=[{"token_prune": {"keep_ratio": 0.5, "blocks": [1]}}],
        export={"token_map": True},
        verify=QUICK,
        data=DATA,
        gates=[{"metric": "top1", "max_drop": 1.0}],
    )


def test_the_manifest_tells_what_was_done(pruned: Converted, factories: Path) -> None:
    manifest = read_manifest(pruned.artifact)
    verify_files(pruned.artifact, manifest)
    assert manifest.format == "onnx"
    assert manifest.source["spec"] == f"py:{factories}:vit"
    assert manifest.source["digest"] == digest(load_model(f"py:{factories}:vit").model)
    (step,) = manifest.transforms
    assert step["name"] == "token_prune"
    assert step["config"]["keep_ratio"] == 0.5
    assert manifest.graph["tokens_per_layer"] == [1 + 8 + 1] * 2  # class token, half of 16, the fused one
    assert manifest.parity is not None
    assert manifest.parity["passed"]
    assert manifest.parity["samples"] == 1 + 2 + 4 * 1
    assert manifest.quality is not None
    assert manifest.quality["samples"] == 20
    assert {"torch", "onnx", "onnxruntime", "python"} <= set(manifest.tools)
    assert manifest.export["opset"] == 20
    assert str(pruned.artifact.parent) not in (pruned.artifact / "manifest.json").read_text(encoding="utf-8")


def test_every_file_is_in_the_manifest_with_its_digest(pruned: Converted) -> None:
    for folder in (pruned.artifact, pruned.baseline):
        assert folder is not None
        manifest = read_manifest(folder)
        there = {path.name for path in folder.iterdir()} - {"manifest.json"}
        assert set(manifest.files) == there
        assert all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == found
            for name, found in manifest.files.items()
        )


def test_the_recorded_recipe_can_be_run_again(pruned: Converted) -> None:
    recorded = json.loads((pruned.artifact / "manifest.json").read_text(encoding="utf-8"))["recipe"]
    recipe = build_recipe(recorded)
    assert recipe.transforms[0].config.blocks == (1,)
    assert recipe.verify.batch_sizes == (1, 2)
    assert recipe.gates[0].confidence == "point"


def test_the_baseline_is_the_model_itself(pruned: Converted, factories: Path) -> None:
    assert pruned.baseline is not None
    assert pruned.baseline == pruned.artifact.with_name("vit-baseline")
    manifest = read_manifest(pruned.baseline)
    assert not manifest.transforms
    assert manifest.graph["tokens_per_layer"] == [17, 17]
    assert manifest.quality is not None
    assert "drop" not in manifest.quality
    after = read_manifest(pruned.artifact)
    assert after.quality is not None
    assert after.quality["before"] == manifest.quality["after"]
    model = load_model(f"py:{factories}:vit").model
    assert model is not None
    pixels = torch.randn(3, 1, 28, 28)
    with paring_runtimes.load(pruned.baseline) as session, torch.inference_mode():
        (found,) = session.run({session.inputs[0].name: pixels.numpy()}).values()
        np.testing.assert_allclose(found, model(pixels), atol=1e-5, rtol=1e-4)


def test_the_token_map_is_an_output_of_the_transformed_model_alone(pruned: Converted) -> None:
    assert pruned.baseline is not None
    with paring_runtimes.load(pruned.artifact) as session:
        pixels = np.random.default_rng(0).standard_normal((2, 1, 28, 28), dtype=np.float32)
        token_map = session.run({session.inputs[0].name: pixels})["token_map"]
    assert token_map.shape == (2, 1, 16)
    assert [len(np.unique(row)) for row in token_map[:, 0]] == [9, 9]  # eight kept, one that holds the rest
    assert [spec.name for spec in read_manifest(pruned.baseline).outputs] == ["output"]


def test_samples_show_where_the_patches_went(pruned: Converted) -> None:
    with np.load(pruned.artifact / "samples.npz") as samples:
        assert samples["images"].shape == (6, 28, 28, 1)
        assert samples["token_maps"].shape == (6, 1, 16)
        assert samples["grid"].tolist() == [4, 4]


def converted(factories: Path, output: Path, factory: str = "convnet", **recipe: Any) -> Converted:
    settings = {"verify": QUICK, **recipe}
    overwrite = settings.pop("overwrite", False)
    return paring.convert(f"py:{factories}:{factory}", output, overwrite=overwrite, **settings)


@pytest.fixture
def there(convnet_artifact: Path, tmp_path: Path) -> Path:
    """An artifact that stands where the next one shall go."""
    return Path(shutil.copytree(convnet_artifact, tmp_path / "out"))


def test_a_failed_gate_keeps_the_artifact_that_was_there(factories: Path, there: Path) -> None:
    before = (there / "manifest.json").read_bytes()
    bound = {**TOP1, "confidence": "bound"}
    with pytest.raises(GateError):
        converted(factories, there, data=DATA, gates=[bound], overwrite=True)
    assert (there / "manifest.json").read_bytes() == before
    verify_files(there, read_manifest(there))
    assert list(there.parent.iterdir()) == [there]


@pytest.mark.parametrize("error", [ParityError("differs"), KeyboardInterrupt()])
def test_what_fails_after_the_baseline_takes_it_along(
    factories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def build(job: Any, model: Any, folder: Path, role: str, images: Any = ()) -> Any:
        if role == "transformed":
            raise error
        (folder / "model.onnx").write_bytes(b"whole")

    monkeypatch.setattr(pipeline, "build", build)
    prune = [{"token_prune": {"keep_ratio": 0.5}}]
    with pytest.raises(type(error)):
        converted(factories, tmp_path / "out", "vit", transforms=prune)
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_is_replaced_only_when_asked(
    factories: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_manifest(there)
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "build", lambda *given: pytest.fail("it exports before it looks"))
        with pytest.raises(ArtifactError, match="exists already"):
            converted(factories, there, seed=2)
    assert read_manifest(there) == first
    second = converted(factories, there, seed=2, overwrite=True).manifest
    assert second.source["digest"] != first.source["digest"]
    assert read_manifest(there).files == second.files
    verify_files(there, second)


def test_a_folder_that_is_no_artifact_is_never_replaced(factories: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.txt").write_text("kept", encoding="utf-8")
    with pytest.raises(ArtifactError, match="not overwritten: only an artifact"):
        converted(factories, tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "one.txt").read_text(encoding="utf-8") == "kept"


def test_an_opset_that_torch_would_swap_is_refused(factories: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"opset 9: torch \S+ writes opset 18 in its place"):
        converted(factories, tmp_path / "out", export={"opset": 9})
    assert list(tmp_path.iterdir()) == []


def measured(drop: float, interval: tuple[float, float]) -> Quality:
    wide = (0.0, 1.0)
    return Quality("top-1 accuracy", 0.9, wide, 0.9 - drop, wide, drop, interval, 500, "images", "abc")


@pytest.mark.parametrize(
    ("confidence", "drop", "upper", "passes"),
    [
        ("point", 0.01, 0.03, True),
        ("bound", 0.01, 0.03, False),
        ("bound", 0.01, 0.019, True),
        ("bound", 0.01, 0.02, True),
        ("point", 0.021, 0.03, False),
        ("point", -0.01, 0.01, True),
    ],
)
def test_a_gate_holds_the_drop_or_its_upper_end(
    confidence: str, drop: float, upper: float, passes: bool
) -> None:
    rule = {"metric": "top1", "max_drop": 0.02, "confidence": confidence}
    recipe = build_recipe({"data": DATA, "gates": [rule]})
    found = measured(drop, (drop - 0.02, upper))
    if passes:
        gate(recipe, found)
        return
    with pytest.raises(GateError, match=r"exceeds max_drop 0\.0200.* on 500 images") as failed:
        gate(recipe, found)
    assert ("upper end" in str(failed.value)) is (confidence == "bound")


def test_every_gate_must_hold() -> None:
    recipe = build_recipe({"data": DATA, "gates": [{**TOP1, "max_drop": 0.5}, TOP1]})
    with pytest.raises(GateError, match=r"max_drop 0\.0000"):
        gate(recipe, measured(0.1, (0.0, 0.2)))


def test_a_recipe_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no model"):
        paring.convert(build_recipe({}), tmp_path / "out")


def test_a_static_transform_refuses_open_image_sizes(factories: Path) -> None:
    model = load_model(f"py:{factories}:vit").model
    assert model is not None
    recipe = build_recipe({"transforms": ["token_prune"], "export": {"dynamic": ["image_size"]}})
    with pytest.raises(TransformRefused, match="token_prune: its token counts follow from the image size"):
        transform(model, recipe)


def test_every_reason_of_a_refusal_is_told(factories: Path) -> None:
    model = load_model(f"py:{factories}:vit").model
    assert model is not None
    recipe = build_recipe({"transforms": [{"token_prune": {"blocks": [2, 7]}}]})
    with pytest.raises(TransformRefused, match=r"blocks \[7\] do not exist: the encoder has blocks 1 to 2"):
        transform(model, recipe)


def test_a_vit_takes_other_image_sizes_when_they_stay_open(tmp_path: Path) -> None:
    done = paring.convert(
        "timm:test_vit",
        tmp_path / "vit",
        export={"dynamic": ["batch", "image_size"], "image_size": 64},
        verify={**QUICK, "image_sizes": [[96, 48], [80, 160]]},
    )
    manifest = done.manifest
    assert manifest.parity is not None
    sizes = {tuple(case["image_size"]) for case in manifest.parity["cases"]}
    assert sizes == {(64, 64), (96, 48), (80, 160)}
    batches = {(case["batch"], tuple(case["image_size"])) for case in manifest.parity["cases"]}
    assert {(2, (96, 48)), (2, (80, 160))} <= batches
    assert done.notes == ("timm:test_vit has random weights: its speed is real, its answers are not",)
    open_sizes = manifest.inputs[0].shape
    assert open_sizes[1] == 3
    assert all(isinstance(open_sizes[axis], str) for axis in (0, 2, 3))
    model = load_model("timm:test_vit", image_size=64, any_image_size=True).model
    assert model is not None
    with paring_runtimes.load(done.artifact) as session, torch.inference_mode():
        for height, width in ((48, 112), (160, 160)):  # sizes that the export did not see
            pixels = torch.randn(3, 3, height, width)
            logits = session.run({"pixel_values": pixels.numpy()})["logits"]
            np.testing.assert_allclose(logits, model(pixels), atol=1e-5, rtol=1e-4)


@pytest.fixture
def hf_vit(tmp_path: Path) -> Path:
    """A folder of a small transformers ViT with safetensors weights."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    labels = {0: "crane", 1: "stork", 2: "heron"}
    sizes = {"hidden_size": 48, "num_attention_heads": 3, "intermediate_size": 96}
    config = ViTConfig(num_hidden_layers=2, image_size=32, patch_size=8, id2label=labels, **sizes)
    ViTForImageClassification(config).save_pretrained(tmp_path / "hf-vit")
    return tmp_path / "hf-vit"


def test_optimum_loads_a_pruned_transformers_model(tmp_path: Path, hf_vit: Path) -> None:
    from optimum.onnxruntime import ORTModelForImageClassification

    done = paring.convert(
        f"hf:{hf_vit}",
        tmp_path / "out",
        transforms=[{"token_prune": {"keep_ratio": 0.5, "blocks": [1]}}],
        verify=QUICK,
    )
    assert done.notes == ()
    theirs = ORTModelForImageClassification.from_pretrained(done.artifact)
    pixels = torch.randn(3, 3, 32, 32)
    with paring_runtimes.load(done.artifact) as session:
        ours = session.run({"pixel_values": pixels.numpy()})["logits"]
    np.testing.assert_array_equal(theirs(pixel_values=pixels).logits.numpy(), ours)
    assert theirs.config.id2label[2] == "heron"
    plain = load_model(f"hf:{hf_vit}").model
    assert plain is not None
    assert done.baseline is not None
    with torch.inference_mode():
        expected = plain(pixels).numpy()
    loaded = ORTModelForImageClassification.from_pretrained(done.baseline)
    np.testing.assert_allclose(loaded(pixel_values=pixels).logits, expected, atol=1e-5, rtol=1e-4)
    assert not np.allclose(ours, expected, atol=1e-5)
