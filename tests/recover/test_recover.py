"""The whole of a recovery: what it gets back, that it is deterministic, and how a conversion goes on."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from stopping import Stopped, stop_at

import paring
import paring.transforms
import paring_runtimes
from paring.recipe import Recipe, build_recipe, load_recipe
from paring.recover import Recovery, read_recovery, recover
from paring.recover._checkpoints import Checkpoints
from paring.sources import load_model
from paring.transforming import transform
from paring_runtimes import read_manifest
from paring_runtimes.errors import OutputError, RecoveryError, SourceError

Values = dict[str, Any]


@pytest.fixture(scope="module")
def recovered(first_values: Values, tmp_path_factory: pytest.TempPathFactory) -> Recovery:
    """A recovery that a test may read, and must not change."""
    values = copy.deepcopy(first_values)
    values["recover"] |= {"steps": 80, "augment": ["shift"]}
    return recover(build_recipe(values), tmp_path_factory.mktemp("recovered") / "vit")


def test_accuracy_comes_back(recovered: Recovery) -> None:
    accuracy = recovered.record["accuracy"]
    assert accuracy["original"]["top1"] > 0.9
    assert accuracy["transformed"]["top1"] < accuracy["original"]["top1"] - 0.1
    low, high = accuracy["gain"]["ci95"]
    assert 0 < low < accuracy["gain"]["top1"] < high
    assert accuracy["recovered"]["top1"] > accuracy["transformed"]["top1"] + 0.1
    assert accuracy["images"] == 200
    losses = recovered.record["losses"]
    assert losses[0]["step"] == 1
    assert losses[-1]["step"] == 80
    assert losses[-1]["loss"] < losses[0]["loss"] / 2
    assert set(losses[0]) == {"step", "loss", "logits", "labels", "features", "learning_rate"}


def test_the_folder_is_whole_and_says_how_it_came_about(recovered: Recovery) -> None:
    folder, record = recovered.folder, recovered.record
    assert sorted(file.name for file in folder.iterdir()) == [
        "recipe.yaml",
        "recovery.json",
        "weights.safetensors",
    ]
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]  # no checkpoints, no drafts
    assert read_recovery(folder).record == record
    assert record["steps"] == 80
    assert record["seconds"] > 0
    assert record["data"]["training"]["images"] == 512
    assert record["data"]["training"]["shared_with_held_out"] == 0
    assert record["device"] == "cpu"
    assert {"torch", "accelerate", "python"} <= set(record["tools"])
    assert load_recipe(folder / "recipe.yaml").recover.steps == 80  # type: ignore[union-attr]


def test_a_conversion_goes_on_from_it(recovered: Recovery, tmp_path: Path) -> None:
    recipe = load_recipe(recovered.folder / "recipe.yaml", ["gates=[{metric: top1, max_drop: 0.3}]"])
    done = paring.convert(recipe, tmp_path / "out", recovered=recovered.folder)
    quality, accuracy = done.manifest.quality, recovered.record["accuracy"]
    assert quality is not None
    assert quality["before"] == accuracy["original"]["top1"]
    assert quality["after"] == accuracy["recovered"]["top1"]  # from the exported artifact
    told = read_manifest(done.artifact).source["recovery"]
    assert told["weights_sha256"] == recovered.record["weights_sha256"]
    assert told["accuracy"] == accuracy
    assert done.baseline is not None
    assert "recovery" not in read_manifest(done.baseline).source
    with paring_runtimes.load(done.artifact) as session:
        pixels = np.random.default_rng(0).standard_normal((2, 1, 28, 28), dtype=np.float32)
        assert session.run({session.inputs[0].name: pixels})["output"].shape == (2, 10)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("token_prune.keep_ratio=0.5", "other transforms: .*0.25.*, and the recipe has .*0.5"),
        ("weights=", "the original must be the same"),
    ],
)
def test_a_conversion_with_another_recipe_is_refused(
    recovered: Recovery, tmp_path: Path, override: str, told: str
) -> None:
    recipe = load_recipe(recovered.folder / "recipe.yaml", [override])
    with pytest.raises(RecoveryError, match=told):
        paring.convert(recipe, tmp_path / "out", recovered=recovered.folder)
    assert list(tmp_path.iterdir()) == []


def test_damaged_folders_are_refused(recovered: Recovery, tmp_path: Path) -> None:
    record = dict(recovered.record)
    with pytest.raises(RecoveryError, match=r"no recovery: recovery\.json cannot be read"):
        read_recovery(tmp_path)
    (tmp_path / "recovery.json").write_text("{", encoding="utf-8")
    with pytest.raises(RecoveryError, match="no record of a recovery"):
        read_recovery(tmp_path)
    (tmp_path / "recovery.json").write_text(json.dumps({**record, "schema": 9}), encoding="utf-8")
    with pytest.raises(RecoveryError, match="of schema 9, and this paring reads 1"):
        read_recovery(tmp_path)
    (tmp_path / "recovery.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(RecoveryError, match="missing, or not the file that was written"):
        read_recovery(tmp_path)
    state = load_file(recovered.folder / "weights.safetensors")
    state["head.weight"] = state["head.weight"][:3]
    save_file(state, tmp_path / "weights.safetensors")
    recipe = load_recipe(recovered.folder / "recipe.yaml")
    model = load_model(str(recipe.model)).model
    assert model is not None
    changed = transform(model, recipe)
    with pytest.raises(SourceError, match=r"1 of another shape: head.weight is \[3, 48\]"):
        Recovery(tmp_path, record).load_into(changed)


def weights(recipe: Recipe, folder: Path, **options: Any) -> bytes:
    recover(recipe, folder, **options)
    return (folder / "weights.safetensors").read_bytes()


def test_the_seed_decides_on_every_bit(values: Values, tmp_path: Path) -> None:
    values["recover"] |= {"augment": ["shift", "flip"], "steps": 8}
    first, again = (weights(build_recipe(values), tmp_path / name) for name in ("a", "b"))
    assert first == again
    values["recover"]["seed"] = 1
    assert weights(build_recipe(values), tmp_path / "c") != first


@pytest.fixture(scope="module")
def two_stages(first_values: Values) -> Recipe:
    values = copy.deepcopy(first_values)
    values["transforms"] = [values["transforms"][0], {"token_merge": {"r": 1}}]
    stages = [{"through": "token_prune", "steps": 6}, {"steps": 5, "learning_rate": 1e-4}]
    values["recover"] |= {"stages": stages, "steps": None, "checkpoint_seconds": 0}
    return build_recipe(values)


@pytest.fixture(scope="module")
def whole(two_stages: Recipe, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of both stages without a stop."""
    return weights(two_stages, tmp_path_factory.mktemp("stages") / "whole")


@pytest.mark.parametrize("stopped", [3, 6, 7, 10])
def test_two_stages_go_on_to_the_same_bits_from_anywhere(
    two_stages: Recipe, whole: bytes, tmp_path: Path, stopped: int
) -> None:
    recipe, said = two_stages, list[str]()
    with pytest.raises(Stopped):
        recover(recipe, tmp_path / "out", watch=stop_at(stopped))
    assert not (tmp_path / "out").exists()
    assert weights(recipe, tmp_path / "out", progress=said.append) == whole
    assert f"going on after step {stopped - 1} of 11" in said
    assert ("training, stage 1 of 2" in said) is (stopped <= 7)


def test_a_later_stage_goes_on_from_a_recovery_of_the_first(two_stages: Recipe, tmp_path: Path) -> None:
    first = two_stages.model_copy(
        update={
            "transforms": two_stages.transforms[:1],
            "recover": two_stages.recover.model_copy(update={"stages": (), "steps": 40}),  # type: ignore[union-attr]
        }
    )
    before = recover(first, tmp_path / "first")
    said: list[str] = []
    options: dict[str, Any] = {"recovered": before.folder, "progress": said.append}
    with pytest.raises(Stopped):
        recover(two_stages, tmp_path / "out", watch=stop_at(3), **options)
    done = recover(two_stages, tmp_path / "out", **options)
    assert "going on after step 2 of 5" in said
    assert done.record["steps"] == 5  # of the second stage alone
    assert [stage["applied"] for stage in done.record["stages"]] == [2]
    assert done.record["recovered"]["weights_sha256"] == before.record["weights_sha256"]
    untrained = recover(two_stages, tmp_path / "whole").record["accuracy"]["transformed"]["top1"]
    assert done.record["accuracy"]["transformed"]["top1"] > untrained + 0.1  # the first stage's weights count
    assert (
        weights(two_stages, tmp_path / "again", **options)
        == (done.folder / "weights.safetensors").read_bytes()
    )


@pytest.mark.parametrize(
    ("transforms", "told"),
    [
        (["token_prune"], "the recovery is of 1 transforms, .* at most 0 here"),
        ([{"token_merge": {"r": 1}}, "token_prune"], "the recovery is of other transforms"),
    ],
)
def test_a_recovery_of_something_else_is_no_beginning(
    recovered: Recovery, values: Values, tmp_path: Path, transforms: list[Any], told: str
) -> None:
    values["transforms"] = transforms
    with pytest.raises(RecoveryError, match=told):
        recover(build_recipe(values), tmp_path / "out", recovered=recovered.folder)
    assert list(tmp_path.iterdir()) == []


def test_other_settings_do_not_go_on_from_checkpoints(values: Values, tmp_path: Path) -> None:
    values["recover"] |= {"steps": 6, "checkpoint_seconds": 0}
    with pytest.raises(Stopped):
        recover(build_recipe(values), tmp_path / "out", watch=stop_at(4))
    values["recover"]["learning_rate"] = 1e-4
    other = build_recipe(values)
    with pytest.raises(RecoveryError, match=r"checkpoints of another training: other recover\.learning_rate"):
        recover(other, tmp_path / "out")
    assert weights(other, tmp_path / "out", restart=True) == weights(other, tmp_path / "fresh")


def test_what_is_there_is_replaced_only_when_asked(values: Values, tmp_path: Path) -> None:
    values["recover"]["steps"] = 1
    recipe = build_recipe(values)
    recover(recipe, tmp_path / "out")
    with pytest.raises(OutputError, match="exists already"):
        recover(recipe, tmp_path / "out")
    recover(recipe, tmp_path / "out", overwrite=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.txt").write_text("kept", encoding="utf-8")
    with pytest.raises(OutputError, match=r"only what this writes \(a folder with recovery.json\)"):
        recover(recipe, tmp_path / "photos", overwrite=True)


def test_a_learning_rate_that_diverges_is_said_and_leaves_no_checkpoint(
    values: Values, tmp_path: Path
) -> None:
    values["recover"] |= {"learning_rate": 1e30, "checkpoint_seconds": 0}
    with pytest.raises(RecoveryError, match=r"the gradient is not finite .*lower the learning rate"):
        recover(build_recipe(values), tmp_path / "out")
    checkpoints = Checkpoints(tmp_path / "out.checkpoints", {})
    for file in checkpoints.folder.glob("*.safetensors"):
        assert all(value.isfinite().all() for value in load_file(file).values())


FAKE = '''
"""Weights rounded to quarters, trained straight through."""
from dataclasses import dataclass
import torch
from torch import nn
from paring.transforms.traits import Traits

TRAITS = Traits("rounding", "https://arxiv.org/abs/0", "transformation", False, True)

@dataclass(frozen=True)
class Config:
    """Nothing to choose."""

CALLS = []

class Rounded(nn.Linear):
    straight_through = False
    def forward(self, x):
        rounded = (self.weight * 4).round() / 4
        if self.straight_through:
            rounded = self.weight + (rounded - self.weight).detach()
        return nn.functional.linear(x, rounded, self.bias)

def check(model, config):
    return []

def apply(model, config):
    model.head.__class__ = Rounded
    with torch.no_grad():
        model.head.bias.normal_()  # a transform may draw weights
    return model

def calibrate(model, batches, original):
    CALLS.append(("calibrate", sum(map(len, batches)), original is not model))
    return model

def trainable(model):
    CALLS.append("trainable")
    model.head.straight_through = True
    return model

def frozen(model):
    CALLS.append("frozen")
    model.head.straight_through = False
    with torch.no_grad():
        model.head.weight.copy_((model.head.weight * 4).round() / 4)
    return model

def auxiliary_loss(model):
    return model.head.bias.square().sum()
'''


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A transform in a folder of its own."""
    folder = tmp_path / "transforms"
    folder.mkdir()
    (folder / "rounding.py").write_text(FAKE, encoding="utf-8")
    paths = [*paring.transforms.__path__, str(folder)]
    monkeypatch.setattr(paring.transforms, "__path__", paths)
    yield paring.transforms.discover()["rounding"]
    sys.modules.pop("paring.transforms.rounding", None)


def test_transforms_are_trained_in_their_own_form(values: Values, tmp_path: Path, fake: Any) -> None:
    values["transforms"] = [values["transforms"][0], "rounding", "rounding"]
    values["recover"] |= {"steps": 6}
    done = recover(build_recipe(values), tmp_path / "out")
    fits = [call for call in fake.CALLS if call[0] == "calibrate"]
    assert fits == [("calibrate", 256, True)] * 2  # once for each of the two steps
    assert [call for call in fake.CALLS if call not in fits] == ["trainable", "frozen"]
    head = load_file(done.folder / "weights.safetensors")["head.weight"]
    assert torch.equal((head * 4).round(), head * 4)
    started = load_file(Path(values["weights"]))["head.weight"]
    assert not torch.equal((started * 4).round() / 4, head)  # the gradient came through
    assert done.record["losses"][0]["auxiliary"] > 0


def test_a_model_without_known_blocks_is_told_so(values: Values, tmp_path: Path, fake: Any) -> None:
    factory = tmp_path / "plain.py"
    factory.write_text(
        "from collections import OrderedDict\nfrom torch import nn\n\nclass Plain(nn.Sequential):\n"
        "    input_shape = (1, 28, 28)\n\n    def __init__(self):\n"
        "        super().__init__(OrderedDict(flat=nn.Flatten(), head=nn.Linear(784, 10)))\n",
        encoding="utf-8",
    )
    values |= {"model": f"py:{factory}:Plain", "weights": None, "transforms": ["rounding"]}
    values["recover"]["steps"] = 2
    done = recover(build_recipe(values), tmp_path / "out")
    assert "no encoder blocks are known" in done.record["notes"][0]
    assert "features" not in done.record["losses"][0]
