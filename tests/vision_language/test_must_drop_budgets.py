"""`paring must-drop-budgets` on a small LLaVA: counts of the thresholds, spread, and a recipe that holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llava_files import llava_folder, picture
from PIL import Image
from typer.testing import CliRunner

from paring.cli import app
from paring.image_prompts import read_image_prompts
from paring.must_drop_budgets import must_drop_budgets, stage_counts
from paring.recipe import build_recipe, parse_recipe
from paring.sources import LoadedVisionLanguageModel, load_model
from paring.transforming import transform
from paring.transforms._vision_language import VisionLanguage, open_vision_language
from paring_runtimes.errors import InputError, ParingError, RecipeError, SourceError

THRESHOLDS = {"layers": [0, 2], "global_threshold": 0.03, "individual_threshold": 0.03}
COARSE = {"layers": [0, 2], "global_threshold": 0.045, "individual_threshold": 0.06}
PROMPTS = ["<image> what is it:", "ab <image> cd, ef.", "user: <image> is a cat. what.", "abc<image>d"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("budgets")
    llava_folder(base / "tiny")
    (base / "images").mkdir()
    lines = []
    for index, prompt in enumerate(PROMPTS):
        Image.fromarray(picture(index, 50, 41)).save(base / "images" / f"{index}.png")
        lines.append(json.dumps({"image": f"images/{index}.png", "prompt": prompt}))
    (base / "samples.jsonl").write_text("\n".join(lines) + "\n\n")
    return base


def source(base: Path) -> LoadedVisionLanguageModel:
    found = load_model(f"hf:{base / 'tiny'}")
    assert isinstance(found, LoadedVisionLanguageModel)
    return found


def run(*arguments: Any) -> str:
    done = CliRunner().invoke(app(), ["must-drop-budgets", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def by_budget(base: Path, step: dict[str, Any]) -> VisionLanguage:
    model = transform(open_vision_language(source(base).model), build_recipe({"transforms": [step]}))
    assert isinstance(model, VisionLanguage)
    return model


def test_the_command_prints_the_spread_and_a_recipe_that_keeps_what_the_thresholds_keep(base: Path) -> None:
    sets = [
        part for key, value in THRESHOLDS.items() for part in ("-s", f"must_drop.{key}={json.dumps(value)}")
    ]
    given = ("-m", f"hf:{base / 'tiny'}", "--data", base / "samples.jsonl", *sets)
    found = json.loads(run(*given, "--json"))
    counts = np.array(found["counts"])
    assert counts.shape == (4, 2)
    assert (counts.max(0) > counts.min(0)).all()
    budgets = [stage["budget"] for stage in found["stages"]]
    assert budgets == counts.max(0).tolist() == found["config"]["budgets"]
    for stage, column in zip(found["stages"], counts.T, strict=True):
        assert (stage["least"], stage["most"]) == (column.min(), column.max())
        assert stage["mean"] == pytest.approx(column.mean())
    average = (36 + 2 * counts[:, 0] + counts[:, 1]) / 4  # layer 0 sees all, then two layers, then one
    assert found["average_by_thresholds"] == pytest.approx(average.mean())
    shown = run(*given)
    recipe = parse_recipe(shown.partition("in a recipe:\n")[2], "printed", [])
    assert list(recipe.transforms[0].config.budgets) == budgets
    assert recipe.transforms[0].config.form == "budget"
    assert by_budget(base, {"must_drop": {**THRESHOLDS, "budgets": budgets}}).image_rows() == [
        36,
        budgets[0],
        budgets[0],
        budgets[1],
    ]


def test_counts_are_those_of_the_runtime_s_own_images_and_prompts(base: Path) -> None:
    """Against transformers' image processor and tokenizer."""
    from transformers import AutoImageProcessor, AutoTokenizer

    samples = read_image_prompts(base / "samples.jsonl")
    recipe = build_recipe({"transforms": [{"must_drop": {**THRESHOLDS, "key_share": 0.1}}]})
    found = must_drop_budgets(recipe, source(base), samples)
    assert found.keys == 4
    tokenizer = AutoTokenizer.from_pretrained(base / "tiny")
    prepare = AutoImageProcessor.from_pretrained(base / "tiny", use_fast=False)
    model = by_budget(base, {"must_drop": {**THRESHOLDS, "key_share": 0.1, "form": "threshold"}})
    for index, counts in enumerate(found.counts):
        picture_of = prepare(Image.open(base / "images" / f"{index}.png"), return_tensors="pt").pixel_values
        assert stage_counts(model, tokenizer(PROMPTS[index]).input_ids, picture_of) == counts


def test_steps_before_it_run_first_and_the_quantile_is_taken(base: Path) -> None:
    samples = read_image_prompts(base / "images", "<image> what is it:")
    steps = [{"window_merge": {"r": 2}}, {"must_drop": COARSE}]
    low, high = (
        must_drop_budgets(build_recipe({"transforms": steps}), source(base), samples, quantile)
        for quantile in (0.0, 1.0)
    )
    assert low.image_tokens == 20
    assert low.counts == high.counts
    assert low.config.budgets == tuple(np.maximum(1, np.minimum.accumulate(np.array(low.counts).min(0))))
    assert low.config.budgets < high.config.budgets


def test_the_similarity_of_windows_becomes_how_many_merge(base: Path) -> None:
    """Against cosines written out, of the first block's output; later stages count on what has merged."""
    given = ("-m", f"hf:{base / 'tiny'}", "--data", base / "samples.jsonl", "-t", "window_merge")
    sets = ("-s", "must_drop.layers=[0,2]", "-s", "must_drop.global_threshold=0.045", "--similarity", 0.3)
    found = json.loads(run(*given, *sets, "--json"))
    from transformers import AutoImageProcessor

    prepare = AutoImageProcessor.from_pretrained(base / "tiny", use_fast=False)
    tower, counts = source(base).model.model.vision_tower.vision_model, []
    for index in range(4):
        pixels = prepare(Image.open(base / "images" / f"{index}.png"), return_tensors="pt").pixel_values
        with torch.inference_mode():
            x = tower(pixels, output_hidden_states=True).hidden_states[1][0, 1:].reshape(6, 6, -1)
        count = 0
        for row, column in ((0, 0), (0, 3), (3, 0), (3, 3)):
            window = torch.nn.functional.normalize(
                x[row : row + 3, column : column + 3].flatten(0, 1), dim=-1
            )
            cosines = window @ window.T
            count += int((cosines.sum() - cosines.trace()) / 72 >= 0.3)
        counts.append(count)
    windows = found["windows"]
    assert windows["counts"] == counts
    assert 0 < min(counts) < max(counts)
    assert (windows["windows"], windows["config"]["r"]) == (4, min(counts))
    assert found["image_tokens"] == 36 - 8 * min(counts)
    shown = run(*given, *sets)
    recipe = parse_recipe(shown.partition("in a recipe:\n")[2], "printed", [])
    assert [step.name for step in recipe.transforms] == ["window_merge", "must_drop"]
    assert recipe.transforms[0].config.r == min(counts)
    merged = [
        {"window_merge": {"r": min(counts)}},
        {"must_drop": {"layers": [0, 2], "global_threshold": 0.045}},
    ]
    again = must_drop_budgets(
        build_recipe({"transforms": merged}), source(base), read_image_prompts(base / "samples.jsonl")
    )
    assert [list(one) for one in again.counts] == found["counts"]


def test_a_similarity_without_windows_is_refused(base: Path) -> None:
    recipe = build_recipe({"transforms": [{"must_drop": THRESHOLDS}]})
    samples = read_image_prompts(base / "samples.jsonl", limit=1)
    with pytest.raises(RecipeError, match="needs window_merge once"):
        must_drop_budgets(recipe, source(base), samples, similarity=0.8)


def test_samples_come_from_folders_lines_and_archives(base: Path, tmp_path: Path) -> None:
    lines = read_image_prompts(base / "samples.jsonl")
    assert [one.prompt for one in lines] == PROMPTS
    folder = read_image_prompts(base / "images", "<image>a")
    assert [one.image for one in folder] == [one.image for one in lines]
    np.savez(tmp_path / "a.npz", images=np.stack([picture(i) for i in range(4)]), prompts=PROMPTS)
    archive = read_image_prompts(tmp_path / "a.npz", limit=2)
    assert [one.prompt for one in archive] == [PROMPTS[0], PROMPTS[2]]
    assert np.array_equal(archive[1].image, picture(2))


def test_samples_that_cannot_be_read_are_named(base: Path, tmp_path: Path) -> None:
    wrong: list[tuple[Any, str]] = [
        (base / "images", "image 0 has no prompt"),
        (tmp_path / "none", "no such file or folder"),
        (tmp_path, "holds no image"),
    ]
    (tmp_path / "a.jsonl").write_text('{"image": "a.png"}\n{"prompt": "a"}')
    (tmp_path / "b.jsonl").write_text("{")
    np.savez(tmp_path / "a.npz", labels=np.zeros(2))
    wrong += [(tmp_path / "a.jsonl", "line 2: expected"), (tmp_path / "b.jsonl", "line 1: no JSON")]
    wrong += [(tmp_path / "a.npz", "no .npz archive of `images`")]
    for data, message in wrong:
        with pytest.raises(SourceError, match=message):
            read_image_prompts(data)


@pytest.mark.parametrize(
    ("steps", "prompt", "message"),
    [
        ([{"fast_v": {}}], "<image>a", "expected must_drop once, given fast_v"),
        ([{"must_drop": {}}], "<image>a", "must ascend from 0 to 3"),
        ([{"must_drop": THRESHOLDS}], "a", "must stand in it once"),
        ([{"must_drop": THRESHOLDS}], "a<image>", "text must follow the image"),
    ],
)
def test_what_does_not_fit_is_refused(base: Path, steps: Any, prompt: str, message: str) -> None:
    samples = read_image_prompts(base / "images", prompt, 1)
    with pytest.raises(ParingError, match=message) as caught:
        must_drop_budgets(build_recipe({"transforms": steps}), source(base), samples)
    assert caught.value.exit_code in (2, 4)
    assert isinstance(caught.value, InputError) == ("stand" in message or "follow" in message)


def test_budgets_and_form_of_the_recipe_are_not_read(base: Path) -> None:
    samples = read_image_prompts(base / "samples.jsonl", limit=1)
    one, other = (
        must_drop_budgets(build_recipe({"transforms": [{"must_drop": step}]}), source(base), samples)
        for step in (THRESHOLDS, {**THRESHOLDS, "budgets": [3, 2]})
    )
    assert one.config == other.config
    assert one.config.form == "budget"
    assert torch.tensor(one.counts).tolist() == [list(one.config.budgets)]
