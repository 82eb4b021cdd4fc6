"""What the types of a space file do not say: every alternative and every value must make a recipe."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from paring.recipe import Document, Recipe, build_recipe, dump_recipe
from paring_runtimes.errors import RecipeError
from paring_runtimes.suggest import near_miss

from ._models import Key, SpaceFile
from ._points import Parameter, Point, Space

# Why a sweep holds these still: what it measures is against one baseline, on one set of images.
FIXED = {
    "model": "a sweep is of one model",
    "weights": "a sweep is of one model",
    "seed": "a sweep is of one model",
    "data": "accuracies on different images do not compare",
    "robustness": "accuracies under different corruptions do not compare",
    "gates": "every trial is held to the same",
    "recover": "a sweep trains nothing",
    "transforms": "give alternatives as `transforms:` of the space",
    "export.baseline": "a sweep has one baseline of its own",
    "export.image_size": "a sweep has one baseline, of the recipe's image size",
    "export.dynamic": "every trial takes the same inputs",
}
MOST_COMBINATIONS = 500


def check_keys(file: SpaceFile, before: Sequence[str], document: Document) -> None:
    """Report keys that a sweep holds still, ranges that are none, and conditions on what is not known."""
    known: dict[str, tuple[Any, ...] | None] = dict.fromkeys(before)
    known |= {group: tuple(named) for group, named in file.transforms.items()}
    for group, named in file.transforms.items():
        if group in ("engine", "device") or group in file.keys:
            document.report(("transforms", group), "another parameter has this name: rename the group")
        if not named:
            document.report(("transforms", group), "a group needs alternatives: {NAME: [steps]}; [] is none")
    for name, key in file.keys.items():
        path = ("keys", name)
        reason = FIXED.get(name) or FIXED.get(name.partition(".")[0].partition("[")[0])
        if reason is not None and not name.startswith("transforms["):
            document.report(path, f"cannot be varied: {reason}")
        _check_range(key, path, document)
        for other, wanted in key.when.items():
            if other not in known:
                listed = ", ".join(known) or "none"
                text = f"no parameter {other!r} before this one{near_miss(other, known)}; there are {listed}"
                document.report((*path, "when", other), text)
                continue
            values, asked = known[other], wanted if isinstance(wanted, list) else [wanted]
            wrong = [one for one in asked if values is not None and one not in values]
            if wrong:
                text = f"{other} is never {wrong[0]!r}{near_miss(wrong[0], map(str, values or ()))}"
                document.report((*path, "when", other), text)
        known[name] = key.choices


def _check_range(key: Key, path: tuple[str, str], document: Document) -> None:
    if (key.choices is None) == (key.range is None):
        document.report(path, "give choices or a range, one of the two")
        return
    if key.range is None:
        if key.log or key.step is not None:
            document.report(path, "log and step are of a range")
        assert key.choices is not None
        if len({json.dumps(one) for one in key.choices}) < len(key.choices):
            document.report((*path, "choices"), "each only once")
        return
    low, high = key.range
    if low >= high:
        document.report((*path, "range"), f"[lowest, highest] is needed, and {low:g} is not below {high:g}")
    if key.log and low <= 0:
        document.report((*path, "range"), f"log needs a lowest value above 0, not {low:g}")
    if key.log and key.step is not None:
        document.report((*path, "step"), "a range with log has no steps")


def check_alternatives(space: Space, recipe: Recipe, document: Document) -> None:
    """Report alternatives whose steps are wrong, each by itself."""
    plain = dump_recipe(recipe)
    for group, named in space.alternatives.items():
        for name, steps in named.items():
            try:
                build_recipe(plain, f"{group}.{name}", [f"transforms={json.dumps(steps)}"])
            except RecipeError as error:
                document.report(("transforms", group, name), _shortened(str(error)))


def check_key_values(space: Space, recipe: Recipe, document: Document) -> None:
    """Report keys that no combination of alternatives has, and values that the recipe does not take."""
    plain, groups = dump_recipe(recipe), tuple(space.alternatives)
    for parameter in space.parameters:
        if parameter.name in (*groups, "engine", "device"):
            continue
        first, *others = _ends(parameter)
        base = _base(space, plain, parameter, first)
        if isinstance(base, str):
            document.report(("keys", parameter.name), base)
            continue
        for value in others:
            try:
                build_recipe(plain, "recipe", space.overrides({**base, parameter.name: value}))
            except RecipeError as error:
                document.report(("keys", parameter.name), _shortened(str(error)))


def _ends(parameter: Parameter) -> tuple[Any, ...]:
    """The values that tell whether all are right: every choice, or a range's ends."""
    return parameter.choices or (parameter.low, parameter.high)


def _base(space: Space, plain: dict[str, Any], parameter: Parameter, value: Any) -> Point | str:
    """Alternatives under which the key can have the value, or why there are none."""
    reason = "it never exists: no combination of alternatives meets its `when`"
    for combination in itertools.islice(_combinations(space), MOST_COMBINATIONS):
        groups = {k: v for k, v in (parameter.when or {}).items() if k in space.alternatives}
        if any(combination[name] not in values for name, values in groups.items()):
            continue
        try:
            build_recipe(plain, "recipe", space.overrides({**combination, parameter.name: value}))
        except RecipeError as error:
            reason = _shortened(str(error))
        else:
            return combination
    return reason


def _combinations(space: Space) -> Iterator[Point]:
    names = list(space.alternatives)
    for chosen in itertools.product(*(space.alternatives[name] for name in names)):
        yield dict(zip(names, chosen, strict=True))


def _shortened(message: str) -> str:
    """A recipe's problems on one line, without the override that made them."""
    lines = [line.partition("…: ")[2] or line for line in message.splitlines()]
    return "; ".join(line.removeprefix("--set ") for line in lines)
