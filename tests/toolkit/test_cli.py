"""The commands: `--json` can be read by a program, and an exit code tells what happened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import paring
from paring.cli import COMMANDS, convert_command, demo_command
from paring.recipe import build_recipe
from paring_runtimes import read_manifest

Command = Callable[..., Any]
QUICK = ("--set", "verify.batch_sizes=[1,2]", "--set", "verify.seeds=[0]")
FEW = ("--data", "embedded", "--set", "data.limit=20")
GREY = ("--set", "data.channels=1")
SHORT = ("--min-runs", 10, "--min-seconds", 0.05, "--max-seconds", 5, "--threads", 1)


def strict(text: str) -> Any:
    """One JSON document; NaN and Infinity are none."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def places(factories: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands of this file leave what others read."""
    return tmp_path_factory.mktemp("places")


@pytest.fixture
def profile_json(paring_command: Command, convnet_artifact: Path, places: Path) -> Path:
    """A recorded profile, measured once."""
    file = places / "report" / "profile.json"
    if not file.is_file():
        ran = paring_command(
            "profile", convnet_artifact, convnet_artifact, *SHORT, "-o", file.parent, "--json"
        )
        assert ran.code == 0
        found = strict(ran.out)
        assert [candidate["name"] for candidate in found["candidates"]] == ["convnet", "convnet-2"]
        assert len(found["comparisons"]) == 1
    return file


def test_convert_json(paring_command: Command, factories: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    model = ("-m", f"py:{factories}:convnet")
    ran = paring_command("convert", *model, *FEW, *GREY, *QUICK, "--max-drop", 0, "-o", out, "--json")
    assert ran.code == 0
    assert ran.err == ""
    told = strict(ran.out)
    assert (told["artifact"], told["baseline"]) == (str(out), None)
    manifest = read_manifest(out)
    assert told["manifest"]["files"] == dict(manifest.files)
    assert told["manifest"]["quality"]["drop"] == 0.0


def test_a_dry_run_prints_the_recipe_and_writes_nothing(paring_command: Command, tmp_path: Path) -> None:
    ran = paring_command("convert", "-m", "embedded", "-t", "token_prune", "-o", tmp_path / "x", "--dry-run")
    assert ran.code == 0
    assert build_recipe(strict(ran.out)).model == "embedded"
    assert paring_command("convert", "-m", "embedded", "-t", "token_prune", "--dry-run").out == ran.out
    assert not list(tmp_path.iterdir())


def test_run_json(paring_command: Command, convnet_artifact: Path, tmp_path: Path) -> None:
    saved = tmp_path / "outputs.npz"
    ran = paring_command("run", convnet_artifact, "--random", "--batch", 3, "-o", saved, "--json")
    assert ran.code == 0
    (output,) = strict(ran.out)["outputs"]
    assert output["shape"] == [3, 10]
    with np.load(saved) as arrays:
        best = int(arrays["output"][0].argmax())
    assert output["top"][0]["index"] == best


def test_run_takes_arrays_and_images(paring_command: Command, convnet_artifact: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).standard_normal((2, 1, 28, 28), dtype=np.float32)
    name = read_manifest(convnet_artifact).inputs[0].name
    np.save(tmp_path / "x.npy", pixels)
    np.savez(tmp_path / "x.npz", **{name: pixels})
    outputs = [
        strict(paring_command("run", convnet_artifact, "--inputs", tmp_path / file, "--json").out)["outputs"]
        for file in ("x.npy", "x.npz")
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0][0]["shape"] == [2, 10]


def test_run_prepares_images_as_the_model_was_trained(
    paring_command: Command, convnet_artifact: Path, tmp_path: Path
) -> None:
    grey = shutil.copytree(convnet_artifact, tmp_path / "grey")
    manifest = json.loads((grey / "manifest.json").read_text(encoding="utf-8"))
    manifest["source"]["preprocess"].update(channels=1, size=[28, 28], mean=[0.5], std=[0.25])
    (grey / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    shades = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(shades).save(tmp_path / "x.png")
    np.save(tmp_path / "x.npy", ((shades / np.float32(255) - 0.5) / 0.25).astype(np.float32)[None, None])
    by_image = paring_command("run", grey, "--image", tmp_path / "x.png", "--json")
    by_array = paring_command("run", grey, "--inputs", tmp_path / "x.npy", "--json")
    assert by_image.code == by_array.code == 0
    first, second = (strict(ran.out)["outputs"][0]["top"] for ran in (by_image, by_array))
    assert [item["index"] for item in first] == [item["index"] for item in second]
    np.testing.assert_allclose([i["value"] for i in first], [i["value"] for i in second], rtol=1e-4)


def test_inspect_json(paring_command: Command, convnet_artifact: Path) -> None:
    ran = paring_command("inspect", convnet_artifact, "--json")
    assert ran.code == 0
    told = strict(ran.out)
    assert told["whole"] is True
    assert told["sizes_bytes"]["model.onnx"] == (convnet_artifact / "model.onnx").stat().st_size
    assert set(told["manifest"]["files"]) == set(told["sizes_bytes"])


def test_ledger_json(paring_command: Command, convnet_artifact: Path) -> None:
    found = strict(paring_command("ledger", convnet_artifact, "--json").out)
    plain, int8 = found.values()
    assert plain["accounting"] == "full"
    assert plain["total_uj"] == pytest.approx(sum(plain["energy_uj"].values()))
    assert int8["total_uj"] < plain["total_uj"]
    assert "fp32_mac" in paring_command("ledger", convnet_artifact, "--layers").out


def test_ledger_names_the_accountings(paring_command: Command, convnet_artifact: Path) -> None:
    ran = paring_command("ledger", convnet_artifact, "--accounting", "mine")
    assert ran.code == 2
    assert "full, paper" in ran.err


def test_profile_and_compare_json(paring_command: Command, profile_json: Path) -> None:
    assert {path.name for path in profile_json.parent.iterdir()} >= {"report.html", "report.md"}
    strict(profile_json.read_text(encoding="utf-8"))
    ran = paring_command("compare", profile_json, profile_json, "--json")
    assert ran.code == 0
    told = strict(ran.out)
    assert len(told["rows"]) == 4
    assert any(not row["interleaved"] for row in told["comparisons"])


def test_list_json(paring_command: Command) -> None:
    ran = paring_command("list", "--json")
    assert ran.code == 0
    told = strict(ran.out)
    kinds = {
        "transforms", "exporters", "engines", "devices", "meters", "chips", "modelled-devices", "sources",
        "data",
    }  # fmt: skip
    assert set(told) == kinds
    assert {"embedded", "folder", "text"} <= {row["name"] for row in told["data"]}
    assert {"token_merge", "token_prune"} <= {row["name"] for row in told["transforms"]}
    for kind, rows in told.items():
        more = {"transforms": {"traits", "keys"}, "modelled-devices": {"constants", "sources"}}
        keys = {"name", "about", "why_not"} | more.get(kind, set())
        assert all(set(row) == keys for row in rows)
    merge = next(row for row in told["transforms"] if row["name"] == "token_merge")
    assert [key["name"] for key in merge["keys"]] == ["r", "schedule", "keep_ratio", "proportional_attention"]
    assert merge["keys"][3]["default"] is True
    assert "token_prune.keep_ratio" in paring_command("list", "transforms").out
    only = strict(paring_command("list", "engines", "--json").out)
    assert only == {"engines": told["engines"]}


def test_doctor_json(paring_command: Command) -> None:
    ran = paring_command("doctor", "--json")
    assert ran.code == 0
    states = {finding["part"]: finding["state"] for finding in strict(ran.out)}
    assert "GGUF models" in states
    assert states["transforms"] == states["ONNX export"] == states["ONNX Runtime"] == "works"
    assert all(finding["mend"] for finding in strict(ran.out) if finding["state"] != "works")


def test_recipe_json(paring_command: Command, tmp_path: Path) -> None:
    schema = paring_command("recipe", "schema")
    assert schema.code == 0
    assert "token_prune" in json.dumps(strict(schema.out)["properties"]["transforms"])
    file = tmp_path / "r.yaml"
    file.write_text("model: embedded\ntransforms: [token_prune]\n", encoding="utf-8")
    ran = paring_command("recipe", "check", file, "--json")
    assert ran.code == 0
    assert strict(ran.out)["transforms"] == [
        {"token_prune": {"keep_ratio": 0.7, "blocks": None, "inattentive": "fuse"}}
    ]


def test_demo_json(paring_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "small.yaml"
    text = demo_command.RECIPE.read_text(encoding="utf-8").replace("max_drop: 0.03", "max_drop: 0.5")
    few = text.replace("source: embedded", "source: embedded\n  limit: 20")
    recipe.write_text(few + "verify: {batch_sizes: [1], seeds: [0]}\n", encoding="utf-8")
    whole = demo_command.measure

    def short(paths: list[str], names: list[str], settings: dict[str, Any], quiet: bool) -> Any:
        return whole(paths, names, {**settings, "min_runs": 10, "min_seconds": 0.05}, quiet)

    monkeypatch.setattr(demo_command, "RECIPE", recipe)
    monkeypatch.setattr(demo_command, "measure", short)
    ran = paring_command("demo", "-o", tmp_path / "demo", "--json")
    assert ran.code == 0
    told = strict(ran.out)
    assert [candidate["name"] for candidate in told["profile"]["candidates"]] == ["before", "after"]
    assert told["converted"]["manifest"]["quality"]["before"] >= 0.7  # the embedded model knows its images
    assert told["converted"]["manifest"]["quality"]["samples"] == 20
    assert Path(told["report"]).is_file()
    assert {path.name for path in (tmp_path / "demo").iterdir()} >= {"pruned", "pruned-baseline"}


def test_every_command_has_help(paring_command: Command) -> None:
    for name in COMMANDS:
        ran = paring_command(name.replace("_", "-"), "--help")
        assert ran.code == 0
        assert "Usage: paring" in ran.out


def test_version_and_short_help(paring_command: Command) -> None:
    assert paring_command("--version").out == f"paring {paring.__version__}\n"
    assert paring_command("convert", "-h").out == paring_command("convert", "--help").out


def test_a_folder_that_cannot_be_made_is_bad_input(paring_command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text", encoding="utf-8")
    for command in (["convert", "-m", "embedded"], ["demo"]):
        ran = paring_command(*command, "-o", tmp_path / "file" / "out")
        assert ran.code == 2
        assert f"{tmp_path / 'file' / 'out'}" in ran.err
        assert f"cannot be made: {tmp_path / 'file'}" in ran.err
    assert (tmp_path / "file").read_text(encoding="utf-8") == "text"


def test_a_gate_of_perplexity_on_images_is_refused_before_the_export(
    paring_command: Command, tmp_path: Path
) -> None:
    line = ("-m", "embedded", "--data", "embedded", "--max-increase", 0.1)
    ran = paring_command("convert", *line, "-o", tmp_path / "out")
    assert ran.code == 2
    assert "its gates hold top1, with max_drop, not perplexity" in ran.err
    assert "exporting" not in ran.err


@pytest.mark.parametrize(
    "wrong", [["--threads", 0], ["--min-runs", 0], ["--max-seconds", -1], ["-o", "FILE"]]
)
def test_profile_measures_nothing_with_a_wrong_option(
    paring_command: Command, convnet_artifact: Path, wrong: list[Any]
) -> None:
    wrong = [str(convnet_artifact / "model.onnx") if value == "FILE" else value for value in wrong]
    ran = paring_command("profile", convnet_artifact, *wrong)
    assert ran.code == 2
    assert f"Invalid value for '{'--output' if wrong[0] == '-o' else wrong[0]}'" in ran.err


def test_a_checked_recipe_is_json_alone(paring_command: Command, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("model: embedded\n", encoding="utf-8")
    ran = paring_command("recipe", "check", tmp_path / "r.yaml")
    assert strict(ran.out)["model"] == "embedded"
    assert ran.err.endswith("r.yaml: valid\n")
    assert paring_command("recipe", "schema", "--json").out == paring_command("recipe", "schema").out


def test_an_error_is_json_too(paring_command: Command, tmp_path: Path) -> None:
    ran = paring_command("inspect", tmp_path / "nothing", "--json")
    told = strict(ran.out)
    assert ran.code == told["exit_code"] == 5
    assert told["error"] == "ArtifactError"
    assert told["message"] in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["convert", "-m", "embedded"], "'--output' / '-o': the artifact's folder is missing"),
        (["convert", "-m", "embedded", "-o", "x", "--opset", "many"], "valid integer"),
        (["convert", "-m", "embedded", "-o", "x", "--overwite"], "No such option: --overwite"),
        (["inspekt", "x"], "No such command 'inspekt'"),
        (["list", "engine"], "'engine' is not one of"),
    ],
)
def test_a_wrong_command_line_is_json_too(paring_command: Command, arguments: list[str], said: str) -> None:
    ran = paring_command(*arguments, "--json")
    told = strict(ran.out)
    assert ran.code == told["exit_code"] == 2
    assert told["error"] == "UsageError"
    assert said in told["message"]
    assert "Usage: paring" in ran.err
    plain = paring_command(*arguments)
    assert (plain.code, plain.out) == (2, "")
    assert said in plain.err


def test_help_and_json_together_are_help(paring_command: Command) -> None:
    ran = paring_command("convert", "--help", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert "Usage: paring" in ran.out


def test_an_output_that_is_there_is_bad_input_and_names_the_option(
    paring_command: Command, convnet_artifact: Path, tmp_path: Path
) -> None:
    there = shutil.copytree(convnet_artifact, tmp_path / "out")
    ran = paring_command("convert", "-m", "embedded", "-o", there)
    assert ran.code == 2
    assert "exists already; choose another path, or replace it with --overwrite" in ran.err
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.txt").write_text("kept", encoding="utf-8")
    assert paring_command("convert", "-m", "embedded", "-o", tmp_path / "photos", "--overwrite").code == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("m.gguf", "is a file; a GGUF file is gguf:"),
        ("m.onnx", "is a file; an ONNX file has no PyTorch model to convert; `paring profile` takes it"),
        ("model.safetensors", "is a file; give the folder that holds it and its config.json: hf:"),
    ],
)
def test_hf_with_a_file_says_what_is_right(
    paring_command: Command, tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / name).write_bytes(b"weights")
    ran = paring_command("convert", "-m", f"hf:{tmp_path / name}", "-o", tmp_path / "out")
    assert ran.code == 2
    assert said in ran.err


def test_token_merge_alone_merges(paring_command: Command, factories: Path, tmp_path: Path) -> None:
    model = ("-m", f"py:{factories}:vit", "-t", "token_merge")
    ran = paring_command("convert", *model, *QUICK, "-o", tmp_path / "out", "--json")
    assert ran.code == 0
    manifest = strict(ran.out)["manifest"]
    assert manifest["transforms"][0]["config"]["keep_ratio"] == 0.2
    assert manifest["graph"]["tokens_per_layer"] == [11, 6]  # a class token, 10 and then 5 of 16 patches


def test_exit_6_parity_leaves_nothing_and_names_case_and_tolerance(
    paring_command: Command, factories: Path, tmp_path: Path
) -> None:
    exact = ("--atol", 0, "--rtol", 0)
    ran = paring_command("convert", "-m", f"py:{factories}:convnet", *exact, *QUICK, "-o", tmp_path / "out")
    assert ran.code == 6
    (line,) = [line for line in ran.err.splitlines() if line.startswith("error:")]
    assert "the exported model differs from PyTorch: case normal, seed 0" in line
    assert "allowed atol 0 + rtol 0" in line
    assert list(tmp_path.iterdir()) == []


def test_exit_7_a_failed_gate_leaves_nothing_not_even_a_baseline(
    paring_command: Command, factories: Path, tmp_path: Path
) -> None:
    gates = ("--set", "gates=[{metric: top1, max_drop: 0.0, confidence: bound}]")
    model = ("-m", f"py:{factories}:vit", "-t", "token_prune")
    ran = paring_command("convert", *model, *FEW, *GREY, *gates, *QUICK, "-o", tmp_path / "out")
    assert ran.code == 7
    (line,) = [line for line in ran.err.splitlines() if line.startswith("error:")]
    assert "upper end of the drop's interval" in line
    assert "exceeds max_drop 0.0000" in line
    assert "on 20 images" in line
    assert list(tmp_path.iterdir()) == []


def test_exit_130_an_interrupt(
    paring_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(convert_command, "read", interrupted)
    ran = paring_command("convert", "-m", "embedded", "-o", tmp_path / "out")
    assert ran.code == 130
    assert "Traceback" not in ran.err


def test_tables_keep_what_stands_in_brackets(
    paring_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paring.cli import list_command

    why = "gone: pip install 'paring[tvm]'"
    rows: dict[Any, Any] = {**list_command.FINDERS}
    rows[list_command.Kind.engines] = lambda: [{"name": "tvm", "about": "-", "why_not": why}]
    monkeypatch.setattr(list_command, "FINDERS", rows)
    assert "paring[tvm]" in paring_command("list", "engines").out
