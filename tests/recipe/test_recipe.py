"""Recipes: what is read, what is refused, and whether each refusal names file, line and key."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from paring.recipe import build_recipe, dump_recipe, load_recipe, parse_recipe, recipe_schema
from paring_runtimes.errors import RecipeError


@dataclass(frozen=True)
class Prune:
    """Drop tokens."""

    keep_ratio: float = field(default=0.7, metadata={"help": "share kept", "minimum": 0.01, "maximum": 1.0})
    blocks: tuple[int, ...] | None = field(
        default=None, metadata={"help": "blocks that prune", "unit": "block", "minimum": 1}
    )
    rest: str = field(default="fuse", metadata={"help": "the others", "choices": ("fuse", "drop")})


@dataclass(frozen=True)
class Merge:
    """Merge tokens."""

    r: int = field(metadata={"help": "tokens merged in each block", "minimum": 0})
    proportional: bool = field(default=True, metadata={"help": "add log(size)"})

    def __post_init__(self) -> None:
        if self.r == 13:
            raise ValueError("13 is unlucky")


TRANSFORMS = {"prune": SimpleNamespace(Config=Prune), "merge": SimpleNamespace(Config=Merge)}

FULL = """\
model: timm:vit_tiny_patch16_224
seed: 3
transforms:
  - prune: {keep_ratio: 0.5, blocks: [1, 2]}
  - merge:
      r: 4
  - prune
export:
  precision: fp16
  image_size: 64
data:
  source: embedded
  mean: [0.5]
gates:
  - {metric: top1, max_drop: 0.01, confidence: bound}
"""


def parse(text: str, *overrides: str):
    return parse_recipe(text, "r.yaml", overrides, transforms=TRANSFORMS)


def refused(text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse(text, *overrides)
    return str(caught.value).splitlines()


def test_full_recipe() -> None:
    recipe = parse(FULL)
    assert recipe.model == "timm:vit_tiny_patch16_224"
    assert [step.name for step in recipe.transforms] == ["prune", "merge", "prune"]
    assert recipe.transforms[0].config == Prune(0.5, (1, 2))
    assert recipe.transforms[1].config == Merge(4)
    assert recipe.transforms[2].config == Prune()
    assert recipe.export.image_size == (64, 64)
    assert recipe.export.dynamic == ("batch",)
    assert recipe.verify.batch_sizes == (1, 2, 5)
    assert recipe.data is not None
    assert recipe.data.mean == (0.5,)
    assert recipe.gates[0].confidence == "bound"


def test_empty_recipe_is_all_defaults() -> None:
    recipe = parse("")
    assert recipe == parse("export:\ntransforms:\ngates: []\n")
    assert recipe.export.baseline
    assert not recipe.export.token_map


def test_dump_writes_every_default_and_reads_again() -> None:
    recipe = parse(FULL)
    dumped = json.loads(json.dumps(dump_recipe(recipe)))
    assert dumped["transforms"][2] == {"prune": {"keep_ratio": 0.7, "blocks": None, "rest": "fuse"}}
    assert dumped["verify"]["seeds"] == [0, 1]
    assert build_recipe(dumped, transforms=TRANSFORMS) == recipe


def test_every_problem_is_reported_with_its_line() -> None:
    lines = refused(
        "modell: x\ntransforms:\n  - prune: {keep_ration: 0.7}\n  - prune:\n      keep_ratio: 1.7\n"
        "  - pruna\nexport: {precision: fp61}\n"
    )
    assert len(lines) == 5
    assert lines[0].startswith("r.yaml:1: modell: unknown key (did you mean 'model'?); known: model,")
    assert "transforms" in lines[0]
    assert lines[1] == (
        "r.yaml:3: transforms[0].prune.keep_ration: unknown key (did you mean 'keep_ratio'?);"
        " known: keep_ratio, blocks, rest"
    )
    assert lines[2] == (
        "r.yaml:5: transforms[1].prune.keep_ratio: 1.7 is not a number from 0.01 to 1 (share kept)"
    )
    assert lines[3] == (
        "r.yaml:6: transforms[2]: unknown transform 'pruna' (did you mean 'prune'?); known: merge, prune"
    )
    assert lines[4].startswith('r.yaml:7: export.precision: "fp61" is not one of "fp32", "fp16"')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed: '1'", 'seed: "1" is not a whole number'),
        ("seed: true", "seed: true is not a whole number"),
        ("seed: -1", "seed: -1 is not a whole number of at least 0"),
        ("export: {opset: .inf}", "export.opset: Infinity is not a whole number"),
        ("verify: {atol: .nan}", "verify.atol: NaN is not a number"),
        ("verify: {batch_sizes: []}", "verify.batch_sizes: [] is not a list"),
        ("verify: {batch_sizes: [1, 0]}", "verify.batch_sizes[1]: 0 is not a whole number of at least 1"),
        ("export: {image_size: [3]}", "export.image_size[1]: is missing"),
        ("export: {image_size: wide}", 'export.image_size: "wide" is not'),
        ("export: {baseline: yes}", 'export.baseline: "yes" is not true or false'),
        ("data: {limit: 3}", "data.source: is missing: text (embedded, npz:FILE"),
        ("gates: [{metric: top1, max_drop: 2}]\ndata: {source: embedded}", "gates[0].max_drop: 2 is not"),
        ("gates: [{metric: top1, max_drop: 0}]", "gates: gates need labelled images or text"),
        ("transforms: prune", "transforms: a list of steps is needed"),
        ("transforms: [{prune: {}, merge: {}}]", "transforms[0]: a step is one transform"),
        ("transforms: [merge]", "transforms[0].merge.r: is missing: a whole number of at least 0"),
        ("transforms: [merge: {r: 13}]", "transforms[0].merge: 13 is unlucky"),
        ("transforms: [prune: {blocks: [0]}]", "transforms[0].prune.blocks[0]: 0 is not a whole number"),
        ("transforms: [prune: 0.5]", "transforms[0].prune: 0.5 is not a mapping with the keys keep_ratio"),
        ("- model", "a mapping is needed"),
    ],
)
def test_wrong_values(text: str, expected: str) -> None:
    (line,) = refused(text)
    assert line.startswith(f"r.yaml:1: {expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: a\nseed: 1\nmodel: b\n", "r.yaml:3: model: given twice; the first is on line 1"),
        ("model: [\n", "r.yaml:2: no valid YAML"),
        ("model: a\n---\nmodel: b\n", "r.yaml:2: no valid YAML"),
        ("model: !!python/name:os.system x\n", "model: the tag tag:yaml.org,2002:python/name:os"),
        ("model: &a [*a]\n", "nested deeper"),
        ("[" * 50_000, "nested deeper"),
        ("model: a\0", "no valid YAML"),
    ],
)
def test_wrong_yaml(text: str, expected: str) -> None:
    assert expected in "\n".join(refused(text))


def test_a_bomb_of_aliases_is_stopped() -> None:
    levels = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    (line,) = refused("\n".join(levels))
    assert "more than 10000 values" in line


def test_an_alias_is_read() -> None:
    recipe = parse("transforms:\n  - prune: &p {keep_ratio: 0.5}\n  - prune: *p\n")
    assert recipe.transforms[0] == recipe.transforms[1]


def test_overrides() -> None:
    recipe = parse(
        FULL,
        "transforms[0].keep_ratio=0.25",
        "transforms[0].prune.rest=drop",
        "merge.r=7",
        "export.opset=20",
        "verify.seeds=[5]",
        "data=null",
        "gates=[]",
        "model=embedded",
    )
    assert recipe.transforms[0].config == Prune(0.25, (1, 2), "drop")
    assert recipe.transforms[1].config == Merge(7)
    assert recipe.export.opset == 20
    assert recipe.export.precision == "fp16"
    assert recipe.verify.seeds == (5,)
    assert recipe.data is None
    assert recipe.gates == ()
    assert recipe.model == "embedded"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("export.opsett=20", "export.opsett: unknown key (did you mean 'opset'?)"),
        ("transforms[0].keep_ratio=1.7", "transforms[0].prune.keep_ratio: 1.7 is not a number from"),
        ("prune.keep_ratio=0.5", "the recipe has 'prune' 2 times: say transforms[0] or transforms[2]"),
        ("marge.r=1", "the recipe has no 'marge' (did you mean 'merge'?)"),
        ("transforms[7].r=1", "transforms has 3 entries, counted from 0"),
        ("seed.x=1", "seed is no mapping"),
        ("seed", "KEY=VALUE is needed"),
        ("a b=1", "the key 'a b' is no path"),
        ("seed=[", "the value '[' is no valid YAML"),
    ],
)
def test_wrong_overrides_are_named(override: str, expected: str) -> None:
    (line,) = refused(FULL, override)
    assert line.startswith(f"--set {override}: {expected}")


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("seed: x\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"r\.yaml:1: seed: \"x\" is not"):
        load_recipe(file)
    file.write_bytes(b"seed: \xff")
    with pytest.raises(RecipeError, match="no UTF-8 text"):
        load_recipe(file)
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")


def test_schema_holds_every_transform_with_ranges() -> None:
    schema = recipe_schema(TRANSFORMS)
    json.dumps(schema)
    prune = schema["$defs"]["prune"]
    assert prune["additionalProperties"] is False
    assert prune["properties"]["keep_ratio"]["minimum"] == 0.01
    assert prune["properties"]["keep_ratio"]["description"] == "share kept"
    assert prune["properties"]["blocks"]["description"] == "blocks that prune [block]"
    assert prune["properties"]["rest"]["enum"] == ["fuse", "drop"]
    assert schema["$defs"]["merge"]["required"] == ["r"]
    steps = schema["properties"]["transforms"]["items"]["anyOf"]
    assert steps[0]["enum"] == ["merge", "prune"]
    assert next(iter(schema["properties"])) == "model"


def test_every_real_transform_has_a_step() -> None:
    pytest.importorskip("torch")
    from paring.transforms import discover

    definitions = recipe_schema()["$defs"]
    for name in discover():
        assert all(p.get("description") for p in definitions[name]["properties"].values()), name


def test_a_recipe_without_transforms_needs_no_torch() -> None:
    code = (
        "import sys\nfrom paring.recipe import parse_recipe\nparse_recipe('model: embedded')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
