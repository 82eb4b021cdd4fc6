"""`shift_linear` through `paring convert`, and `paring shift-layers`, on the small ViT."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import paring
from paring.cli import app
from paring.recipe import parse_recipe
from paring_exporters.parity import MIN_SNR_DB
from paring_runtimes.artifact import read_manifest

VERIFY = {"batch_sizes": [1, 2], "seeds": [0]}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    file = tmp_path / "images.npz"
    np.savez(file, images=random.integers(0, 256, (40, 28, 28), np.uint8), labels=random.integers(0, 10, 40))
    return file


def measured(*arguments: object) -> str:
    done = CliRunner().invoke(app(), ["shift-layers", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("shift", ["float", "dequantize", "integer"])
def test_each_flavour_converts_and_says_what_it_was_held_to(
    factories: Path, tmp_path: Path, shift: str
) -> None:
    transforms = [{"token_prune": {"blocks": [1]}}, {"shift_linear": {"layers": ["all"]}}]
    done = paring.convert(
        f"py:{factories}:vit", tmp_path / "out", transforms=transforms, export={"shift": shift}, verify=VERIFY
    )
    manifest = read_manifest(done.artifact)
    assert manifest.export["shift"] == {"terms": 14, "flavour": shift}
    assert manifest.parity["passed"]
    assert manifest.parity["min_snr_db"] == (None if shift == "float" else MIN_SNR_DB)
    plain = read_manifest(tmp_path / "out-baseline")
    assert "shift" not in plain.export
    assert plain.parity["min_snr_db"] is None


def test_the_command_ranks_layers_and_prints_a_recipe_that_holds(factories: Path, images: Path) -> None:
    model = f"py:{factories}:vit"
    text = measured("-m", model, "--data", f"npz:{images}", "--min-snr", 38, "--set", "shift_linear.bits=5")
    lines = text.partition("in a recipe:\n")[2]
    recipe = parse_recipe(lines)
    (step,) = recipe.transforms
    assert step.config.layers == ("all",)
    assert step.config.bits == 5
    found = json.loads(
        measured("-m", model, "--data", f"npz:{images}", "--min-snr", 38, "--bits", 5, "--json")
    )
    assert found["samples"] == 40
    ratios = [one["snr_db"] for one in found["layers"]]
    assert len(ratios) == 14
    assert ratios == sorted(ratios)
    advice = {one["path"]: one["advice"] for one in found["layers"]}
    assert tuple(path for path, told in advice.items() if told == "two_term") == step.config.two_term
    assert step.config.two_term


def test_layers_can_be_named_and_steps_come_before(factories: Path, images: Path) -> None:
    settings = ("-m", f"py:{factories}:vit", "--data", f"npz:{images}", "--limit", 10, "--json")
    found = json.loads(measured(*settings, "-t", "token_prune", "--layers", "mlp"))
    assert found["samples"] == 10
    assert {one["kind"] for one in found["layers"]} == {"mlp"}
    assert len(found["layers"]) == 4


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("-m", "embedded"), "data: missing", 2),
        (("--data", "embedded"), "model: missing", 2),
        (("-m", "embedded", "--data", "embedded", "--layers", "nothing"), "names no layer", 4),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], said: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: object
) -> None:
    from paring.cli import main

    monkeypatch.setattr("sys.argv", ["paring", "shift-layers", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == code
    assert said in capsys.readouterr().err
