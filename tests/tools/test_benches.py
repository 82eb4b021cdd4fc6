"""Benchmarks' own arithmetic, and one of them on a small LLaVA."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("transformers")

BENCHES = Path(__file__).parents[2] / "tools" / "bench"


def bench(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("image", "average"), [(384, 192), (320, 128), (192, 64), (576, 192)])
def test_budgets_reach_their_average(image: int, average: int) -> None:
    vision = bench("vision_language_speed")
    one, two, three, four = vision.budgets(image, average)
    assert image > one > two > three > four
    rows = [image] * 3 + [one] * 4 + [two] * 4 + [three] * 4 + [four] * 9
    assert np.mean(rows) == pytest.approx(average, abs=0.5)


def test_variants_are_recipes_whose_keys_fit() -> None:
    from paring.recipe import build_recipe
    from paring.transforms._must_drop.keys import key_count

    vision = bench("vision_language_speed")
    made = vision.variants()
    assert {name for group in vision.GROUPS for name in group} == set(made)
    for name, steps in made.items():
        recipe = build_recipe({"model": "hf:none", "transforms": steps})
        assert len(recipe.transforms) == len(steps)
        if name.startswith("all"):
            merge, drop = (step.config for step in recipe.transforms)
            assert key_count(576 - 8 * merge.r, drop.key_share) <= drop.budgets[-1]


def test_generation_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    speed = bench("generation_speed")
    names = (speed.OURS, speed.THEIRS)
    answers = {name: lambda prompt, count: list(range(count)) for name in names}
    times, said = speed.measure(answers, [1] * 9, 5, 7)
    assert said[speed.OURS] == [0, 1, 2, 3, 4]
    assert {len(times[name]["whole"]) for name in names} == {7}
    times[speed.OURS] = {"first": np.full(7, 1.0), "whole": np.full(7, 3.0)}
    times[speed.THEIRS] = {"first": np.full(7, 2.0), "whole": np.full(7, 6.0)}
    said[speed.THEIRS] = [9]
    speed.tell(times, said, 9, 5)
    shown = capsys.readouterr().out
    assert "1.67 tokens/s" in shown
    assert "optimum / paring: time 2.000 (2.000 to 2.000), step 2.000" in shown
    assert "OTHER TOKENS" in shown


@pytest.mark.slow
def test_a_small_llava_is_built_converted_and_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vision = bench("vision_language_speed")
    tower = vision.VISION | {
        "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 3,
        "image_size": 36, "patch_size": 6,
    }  # fmt: skip
    text = vision.TEXT | {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
        "num_attention_heads": 4, "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    source = vision.build(tmp_path / "source", tower, text, 3)
    drop = {"layers": [0, 2], "budgets": [10, 4], "key_share": 0.1, "trim_cache": True, "whole": 1}
    steps = {vision.BASELINE: [], "all": [{"window_merge": {"r": 2}}, {"must_drop": drop}]}
    vision.convert(tmp_path, source, steps, prompt=9)
    pixels = np.random.default_rng(0).standard_normal((1, 3, 36, 36)).astype(np.float32)
    with ExitStack() as stack:
        cases = vision.open_cases(stack, tmp_path, tuple(steps), 1, 9)
        vision.measure(cases, pixels, 6)
        for case in cases:
            case.count(pixels)
    base, all_stages = cases
    row = 2 * 2 * 8 * 4  # key and value, heads, width, bytes
    assert base.cache_bytes == 4 * (36 + 9) * row
    assert all_stages.cache_bytes == (20 + 3 * 4 + 4 * 9) * row
    assert all_stages.macs[0] < base.macs[0]
    assert all_stages.macs[1] < base.macs[1]
    vision.tell(cases)
    assert "20 image tokens enter" in capsys.readouterr().out
