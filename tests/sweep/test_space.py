from __future__ import annotations

import json
from pathlib import Path

import pytest

from paring.recipe import Recipe, build_recipe
from paring.sweep import load_space, parse_space, space_schema
from paring_runtimes.errors import RecipeError


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return build_recipe({"model": "embedded", "data": {"source": "embedded"}})


TEXT = """
transforms:
  dropping:
    none: []
    prune: [{token_prune: {keep_ratio: 0.7}}]
  shift:
    none: []
    mlp: [shift_linear]
keys:
  token_prune.keep_ratio: {range: [0.5, 0.9], step: 0.2, when: {dropping: prune}}
  export.precision: {choices: [fp32, int8]}
"""


def test_a_grid_has_every_point_and_conditions_hold(recipe: Recipe) -> None:
    space = parse_space(TEXT, recipe)
    points = list(space.grid())
    assert len(points) == space.count() == 2 * 2 + 3 * 2 * 2
    assert {p["token_prune.keep_ratio"] for p in points if p["dropping"] == "prune"} == {0.5, 0.7, 0.9}
    assert not any("token_prune.keep_ratio" in p for p in points if p["dropping"] == "none")


def test_a_point_makes_its_recipe(recipe: Recipe) -> None:
    space = parse_space(TEXT, recipe)
    point = {"dropping": "prune", "shift": "mlp", "token_prune.keep_ratio": 0.5, "export.precision": "int8"}
    texts = space.overrides(point)
    made = build_recipe({"model": "embedded"}, "recipe", texts)
    assert [step.name for step in made.transforms] == ["token_prune", "shift_linear"]
    assert made.transforms[0].config.keep_ratio == 0.5
    assert made.export.precision == "int8"


def test_an_engine_brings_its_format(recipe: Recipe) -> None:
    pytest.importorskip("tvm")
    space = parse_space("engine: [onnxruntime, tvm]", recipe)
    assert space.overrides({"engine": "tvm"}) == ["export.format=tvm"]
    assert space.overrides({"engine": "onnxruntime"}) == []


def test_a_format_that_the_recipe_fixes_is_for_all_engines() -> None:
    pytest.importorskip("tvm")
    fixed = build_recipe({"model": "embedded", "export": {"format": "tvm"}})
    assert parse_space("engine: [tvm]\nkeys: {export.opset: {choices: [18]}}", fixed).formats == {}
    says = r"space:1: engine\[0\]: onnxruntime runs onnx, and the recipe says export.format: tvm: leave that"
    with pytest.raises(RecipeError, match=says):
        parse_space("engine: [onnxruntime, tvm]", fixed)


def test_engines_that_are_not_here_are_left_out_with_the_reason(recipe: Recipe) -> None:
    from paring_runtimes.engines import engines

    missing = [name for name, engine in engines().items() if engine.why_not() is not None]
    if not missing:
        pytest.skip("every engine is here")
    space = parse_space(f"engine: [onnxruntime, {missing[0]}]", recipe)
    assert [one.choices for one in space.parameters] == [("onnxruntime",)]
    assert space.left_out[0].startswith(f"engine {missing[0]}: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("keyz: {}", "space:1: keyz: unknown key (did you mean 'keys'?)"),
        ("{}", "nothing varies"),
        ("engine: [onnxrutime]", "no engine 'onnxrutime' (did you mean 'onnxruntime'?)"),
        (
            "keys:\n  model: {choices: [a, b]}",
            "space:2: keys.model: cannot be varied: a sweep is of one model",
        ),
        ("keys:\n  data.limit: {choices: [1, 2]}", "accuracies on different images do not compare"),
        ("keys:\n  export.opset: {}", "give choices or a range"),
        ("keys:\n  export.opset: {range: [20, 18]}", "20 is not below 18"),
        ("keys:\n  export.opset: {range: [0, 18], log: true}", "log needs a lowest value above 0"),
        ("keys:\n  export.precision: {choices: [fp32, fp32]}", "each only once"),
        ("keys:\n  export.precision: {choices: [fp32, fp33]}", "fp33"),
        ("keys:\n  export.opset: {choices: [18], when: {droping: x}}", "no parameter 'droping'"),
        ("keys:\n  token_prune.keep_ratio: {choices: [0.5]}", "the recipe has no 'token_prune'"),
        ("transforms: {a: {x: [{token_prun: {}}]}}", "did you mean 'token_prune'"),
        ("transforms: {a: {x: [{token_prune: {keep_ratio: 7}}]}}", "space:1: transforms.a.x: "),
        (TEXT.replace("[0.5, 0.9]", "[0.5, 1.5]"), "keys.token_prune.keep_ratio: "),
        (
            TEXT.replace("{dropping: prune}", "{dropping: purne}"),
            "dropping is never 'purne' (did you mean 'prune'?)",
        ),
    ],
)
def test_what_is_wrong_is_said_with_line_and_key(recipe: Recipe, text: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_space(text, recipe)
    assert says in str(caught.value)


def test_ranges_of_whole_numbers_stay_whole_and_others_need_a_step_for_a_grid(recipe: Recipe) -> None:
    whole = parse_space("keys: {export.opset: {range: [18, 20]}}", recipe)
    assert [point["export.opset"] for point in whole.grid()] == [18, 19, 20]
    free = parse_space(
        "transforms: {d: {p: [{token_prune: {}}]}}\nkeys: {token_prune.keep_ratio: {range: [0.5, 0.9]}}",
        recipe,
    )
    assert free.count() is None
    with pytest.raises(RecipeError, match="give its range a step"):
        next(free.grid())


def test_the_schema_knows_the_transforms() -> None:
    schema = space_schema()
    assert {"transforms", "keys", "engine", "device"} == set(schema["properties"])
    assert "token_prune" in json.dumps(schema["properties"]["transforms"])
    assert "token_prune" in schema["$defs"]


def test_a_file_that_cannot_be_read_is_named(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"space\.yaml: cannot be read"):
        load_space(tmp_path / "space.yaml", recipe)
    (tmp_path / "space.yaml").write_text("engine: [onnxruntime]", encoding="utf-8")
    assert load_space(tmp_path / "space.yaml", recipe).count() == 1
