"""From YAML to a checked recipe; every problem at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paring_runtimes.suggest import near_miss

from ._models import PLACE, Recipe, Step
from ._overrides import override
from ._problems import validated
from ._recover import check_recover
from ._steps import discovered, step_model
from ._yaml import Document, file_text, read

# What each gate's metric is held against.
LIMITS = {"top1": "max_drop", "vqa_accuracy": "max_drop", "perplexity": "max_increase"}


def load_recipe(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    transforms: Mapping[str, Any] | None = None,
) -> Recipe:
    """Read a recipe file.

    Args:
        path: a YAML file.
        overrides: "KEY=VALUE" texts, applied in order; VALUE is YAML. A step's key is
            `transforms[0].keep_ratio`, or `token_prune.keep_ratio` where there is one such step.
        transforms: transforms by name; by default those that are installed.

    Raises:
        RecipeError: the file, or an override, is wrong. The message has a line for each problem.
        MissingExtraError: the recipe has transforms, and PyTorch is not installed.
    """
    return parse_recipe(file_text(path), str(path), overrides, transforms=transforms)


def parse_recipe(
    text: str,
    name: str = "recipe",
    overrides: Sequence[str] = (),
    *,
    transforms: Mapping[str, Any] | None = None,
) -> Recipe:
    """Read a recipe from YAML text; `name` stands for the file in messages. See `load_recipe`."""
    return _recipe(read(text, name), overrides, transforms)


def build_recipe(
    data: Mapping[str, Any],
    name: str = "recipe",
    overrides: Sequence[str] = (),
    *,
    transforms: Mapping[str, Any] | None = None,
) -> Recipe:
    """Make a recipe from plain values, as `dump_recipe` gives them. See `load_recipe`."""
    return _recipe(Document(name, _plain(data)), overrides, transforms)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _recipe(document: Document, overrides: Sequence[str], transforms: Mapping[str, Any] | None) -> Recipe:
    document.check()
    if document.data is None:
        document.data = {}
    if not isinstance(document.data, dict):
        document.report((), f"a mapping is needed, with the keys {', '.join(Recipe.model_fields)}")
        document.check()
    _normalise_steps(document.data)
    for text in overrides:
        override(document, text)
        _normalise_steps(document.data)
    body = {key: value for key, value in document.data.items() if value is not None}
    steps = _steps(body.pop("transforms", []), document, transforms)
    recipe = validated(Recipe, body, document)
    if body.get("gates") and body.get("data") is None:
        document.report(("gates",), "gates need labelled images or text: add data, as in {source: embedded}")
    if isinstance(recipe, Recipe):
        _check_prompt(recipe, document)
        _check_gates(recipe, document)
        _check_robustness(recipe, document)
        check_recover(recipe.recover, [step.name for step in steps], document)
    document.check()
    assert isinstance(recipe, Recipe)
    return recipe.model_copy(update={"transforms": steps})


def _check_prompt(recipe: Recipe, document: Document) -> None:
    if recipe.data is not None and PLACE not in recipe.data.prompt:
        text = f"{recipe.data.prompt!r} has no {PLACE}, where each question is put"
        document.report(("data", "prompt"), text)


def _check_gates(recipe: Recipe, document: Document) -> None:
    for index, gate in enumerate(recipe.gates):
        for limit in dict.fromkeys(LIMITS.values()):
            given = getattr(gate, limit) is not None
            if given != (LIMITS[gate.metric] == limit):
                verb = "takes no" if given else "needs"
                document.report(("gates", index), f"the metric {gate.metric} {verb} {limit}")


def _check_robustness(recipe: Recipe, document: Document) -> None:
    wanted = recipe.robustness
    if wanted is not None and recipe.data is None:
        document.report(("robustness",), "it needs labelled images: add data, as in {source: embedded}")
    for key in ("corruptions", "severities") if wanted is not None else ():
        values = getattr(wanted, key)
        if len(set(values)) < len(values):
            document.report(("robustness", key), f"each only once: {', '.join(map(str, values))}")
    known = () if wanted is None else ("mean", *wanted.corruptions)
    for index, gate in enumerate(recipe.gates):
        if gate.corruption is None or gate.corruption in known:
            continue
        listed = f"; measured are {', '.join(known)}" if known else ": add robustness: {}"
        problem = f"{gate.corruption} is not measured{listed}"
        document.report(("gates", index, "corruption"), problem)


def _normalise_steps(data: dict[str, Any]) -> None:
    """Write `- token_merge` and `- token_merge:` as the mapping `- token_merge: {}`."""
    steps = data.get("transforms")
    if not isinstance(steps, list):
        return
    for index, step in enumerate(steps):
        if isinstance(step, str):
            steps[index] = {step: {}}
        elif isinstance(step, dict):
            steps[index] = {key: {} if value is None else value for key, value in step.items()}


def _steps(steps: Any, document: Document, transforms: Mapping[str, Any] | None) -> tuple[Step, ...]:
    if not isinstance(steps, list):
        document.report(("transforms",), "a list of steps is needed, as in `- token_merge: {r: 13}`")
        return ()
    if not steps:
        return ()
    known = discovered() if transforms is None else transforms
    found = [_step(step, index, document, known) for index, step in enumerate(steps)]
    return tuple(step for step in found if step is not None)


def _step(step: Any, index: int, document: Document, known: Mapping[str, Any]) -> Step | None:
    path = ("transforms", index)
    if not isinstance(step, dict) or len(step) != 1:
        document.report(path, "a step is one transform, as in `- token_merge: {r: 13}`")
        return None
    ((name, values),) = step.items()
    if name not in known:
        listed = ", ".join(sorted(known))
        document.report(path, f"unknown transform {name!r}{near_miss(name, known)}; known: {listed}")
        return None
    model = validated(step_model(name, known[name].Config), values, document, (*path, name))
    if model is None:
        return None
    fields = {key: getattr(model, key) for key in type(model).model_fields}
    try:
        return Step(name=name, config=known[name].Config(**fields))
    except ValueError as error:
        document.report((*path, name), str(error))
        return None
