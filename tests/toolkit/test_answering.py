"""Accuracy on questions: its figures, its gate, its keys of a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from paring.answering import Asking, alone, answer_quality
from paring.answering.asking import ended
from paring.cli import app
from paring.data import Question, QuestionData
from paring.gates import gate
from paring.quality import paired_interval, wilson_interval
from paring.recipe import PROMPT, Recipe, build_recipe
from paring_runtimes.errors import GateError, RecipeError

ASKING = Asking(PROMPT, "generate")
ASKED = [Question(Path(f"{index // 2}.png"), "?", "yes", "ab"[index % 2]) for index in range(10)]
DATA = QuestionData(tuple(ASKED), ("no", "yes"), "digest")
BEFORE, AFTER = np.arange(10) < 8, np.arange(10) < 5
DROP = 0.3


def recipe(**gate: object) -> Recipe:
    return build_recipe({"data": {"source": "vqa:a"}, "gates": [{"metric": "vqa_accuracy", **gate}]})


def test_figures_are_told_for_all_and_by_type() -> None:
    found = answer_quality(BEFORE, AFTER, DATA, "vqa:a", ASKING)
    assert (found.before, found.after, found.drop) == (0.8, 0.5, pytest.approx(DROP))
    assert (found.samples, found.images) == (10, 5)
    assert found.after_ci95 == wilson_interval(AFTER)
    assert found.drop_ci95 == paired_interval(BEFORE, AFTER)
    first, second = found.types
    assert (first["type"], first["samples"], second["type"], second["samples"]) == ("a", 5, "b", 5)
    assert (first["before"], first["after"]) == (0.8, 0.6)
    assert (second["before"], second["after"]) == (0.8, 0.4)
    assert second["after_ci95"] == wilson_interval(AFTER[1::2])
    assert second["drop_ci95"] == paired_interval(BEFORE[1::2], AFTER[1::2])
    json.dumps(found.as_dict())


def test_one_alone_has_lost_nothing() -> None:
    found = alone(AFTER, DATA, "vqa:a", ASKING)
    assert (found["after"], found["after_ci95"]) == (0.5, wilson_interval(AFTER))
    assert [sorted(one) for one in found["types"]] == [["after", "after_ci95", "samples", "type"]] * 2
    assert not {"before", "drop"} & set(found)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"max_drop": 0.29}, r"vqa_accuracy: drop 0.3000 exceeds max_drop 0.2900: .* on 10 questions"),
        ({"max_drop": 0.31, "confidence": "bound"}, "vqa_accuracy: upper end of the drop's interval"),
    ],
)
def test_a_gate_holds_the_drop(rule: dict[str, object], message: str) -> None:
    found = answer_quality(BEFORE, AFTER, DATA, "vqa:a", ASKING)
    gate(recipe(max_drop=0.31), found, "questions")
    with pytest.raises(GateError, match=message):
        gate(recipe(**rule), found, "questions")


@pytest.mark.parametrize(
    ("data", "gates", "message"),
    [
        ({}, {"max_increase": 0.1}, "the metric vqa_accuracy needs max_drop"),
        ({}, {"max_drop": 0.1, "max_increase": 0.1}, "vqa_accuracy takes no max_increase"),
        ({"prompt": "<image> what"}, {"max_drop": 0.1}, r"data.prompt: '<image> what' has no \{question\}"),
        ({"judge": "choose"}, {"max_drop": 0.1}, '"choose" is not one of "generate", "choice"'),
    ],
)
def test_wrong_keys_are_named(data: dict[str, str], gates: dict[str, float], message: str) -> None:
    whole = {"data": {"source": "vqa:a", **data}, "gates": [{"metric": "vqa_accuracy", **gates}]}
    with pytest.raises(RecipeError, match=message):
        build_recipe(whole)


@pytest.mark.parametrize(("source", "metric"), [("vqa:a", "vqa_accuracy"), ("folder:a", "top1")])
def test_max_drop_is_of_what_the_data_measure(source: str, metric: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(f"data: {{source: '{source}'}}")
    for given in (["--data", source], ["-r", str(tmp_path / "recipe.yaml")], ["-s", f"data.source={source}"]):
        told = CliRunner().invoke(app(), ["convert", *given, "--max-drop", "0.02", "--dry-run"]).stdout
        (found,) = json.loads(told)["gates"]
        assert (found["metric"], found["max_drop"]) == (metric, 0.02)


def test_braces_of_a_question_are_text() -> None:
    asked = Question(Path("a.png"), "what is {this}?", "yes", "a")
    assert Asking("<image> {question} A:", "choice").text(asked) == "<image> what is {this}? A:"


def test_an_answer_that_begins_another_gets_its_end() -> None:
    assert ended([[5], [3, 4], [3]], (2,)) == [[5, 2], [3, 4, 2], [3, 2]]
    assert ended([[5], [3, 4], [4, 3]], (2,)) == [[5], [3, 4], [4, 3]]
    assert ended([[3], [3, 4]], ()) == [[3], [3, 4]]


def test_an_answer_follows_one_blank() -> None:
    assert Asking("{question} A:", "choice").answer_text("yes") == " yes"
    assert Asking("{question}\n", "choice").answer_text("yes") == "yes"
