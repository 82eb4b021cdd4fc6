"""Stages: which steps, which transforms, which rate."""

from __future__ import annotations

import math
from typing import Any

import pytest

from paring.recipe import Recover, build_recipe, recipe_schema
from paring.recover._schedule import Span, spans
from paring_runtimes.errors import RecipeError

TWO = ["token_prune", {"token_merge": {"r": 2}}]


def planned(recover: dict[str, Any], per_epoch: int = 10) -> tuple[Span, ...]:
    recipe = build_recipe({"transforms": TWO, "recover": recover})
    assert recipe.recover is not None
    return spans(recipe, recipe.recover, per_epoch)


def test_a_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    span = Span(start=5, end=105, applied=1, learning_rate=2.0, warmup=0.1, final=0.01)
    assert [span.rate(5 + at) for at in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert span.rate(15) == pytest.approx(2.0)
    assert span.rate(60) == pytest.approx(2.0 * (0.01 + 0.99 * 0.5))
    assert span.rate(104) == pytest.approx(2 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * 89 / 90))))


def test_without_stages_there_is_one_with_every_transform() -> None:
    (span,) = planned({})
    assert (span.start, span.end, span.applied, span.learning_rate) == (0, 10, 2, 5e-4)
    assert planned({"epochs": 2.5})[0].end == 25
    assert planned({"steps": 7})[0].end == 7
    assert planned({"epochs": 0.001})[0].end == 1


def test_stages_follow_each_other_and_inherit() -> None:
    first = {"through": "token_prune", "steps": 4, "learning_rate": 1e-2}
    found = planned({"stages": [first, {}], "epochs": 3, "learning_rate": 1e-3})
    assert [(span.start, span.end, span.applied, span.learning_rate) for span in found] == [
        (0, 4, 1, 1e-2),
        (4, 34, 2, 1e-3),
    ]


@pytest.mark.parametrize(
    ("recover", "told"),
    [
        ({"epochs": 1, "steps": 3}, "recover.epochs: epochs and steps are two ways"),
        ({"stages": [{"epochs": 1, "steps": 3}]}, r"recover.stages\[0\].epochs: epochs and steps"),
        ({"stages": [{"through": "fast_v"}]}, "recover.stages: 'fast_v' is no transform of the recipe"),
        ({"stages": [{"through": "token_prune"}]}, "the last stage leaves out token_merge"),
        ({"stages": [{}, {"through": "token_prune"}]}, "'token_prune' was applied in an earlier stage"),
        ({"learning_rate": 0}, "recover.learning_rate: 0 is not a number above 0"),
        ({"augment": ["turn"]}, 'recover.augment.*"turn" is not one of "shift", "flip"'),
        ({"rate": 1}, "recover.rate: unknown key"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(recover: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        planned(recover)


def test_every_key_is_documented() -> None:
    definitions = recipe_schema()["$defs"]
    for name in ("Adapters", "Loss", "Stage", "TrainingData"):
        assert all(part.get("description") for part in definitions[name]["properties"].values())
    described = {key: part.get("description") for key, part in definitions["Recover"]["properties"].items()}
    assert {key for key, text in described.items() if not text} <= {"data", "loss", "adapters"}
    assert Recover().model_dump() == build_recipe({"recover": {}}).recover.model_dump()  # type: ignore[union-attr]
