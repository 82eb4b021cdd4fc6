"""From YAML to a checked space; every problem at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paring.recipe import Document, Recipe, dump_recipe, file_text, read_yaml, validated
from paring_runtimes.engines import engines
from paring_runtimes.suggest import near_miss

from ._checking import check_alternatives, check_key_values, check_keys
from ._models import Key, SpaceFile
from ._points import Parameter, Space


def load_space(path: str | Path, recipe: Recipe) -> Space:
    """Read a space file, against the recipe that it varies.

    Raises:
        RecipeError: the file is wrong, or varies what the recipe cannot be. A line for each problem.
        MissingExtraError: it has transforms, and PyTorch is not installed.
    """
    return parse_space(file_text(path), recipe, str(path))


def parse_space(text: str, recipe: Recipe, name: str = "space") -> Space:
    """Read a space from YAML text; `name` stands for the file in messages. See `load_space`."""
    document = read_yaml(text, name)
    document.check()
    if not isinstance(document.data, dict):
        document.report((), f"a mapping is needed, with the keys {', '.join(SpaceFile.model_fields)}")
        document.check()
    file = validated(SpaceFile, document.data, document)
    document.check()
    assert isinstance(file, SpaceFile)
    used, formats, left_out = _engines(file, recipe, document)
    parameters = [Parameter(group, tuple(named)) for group, named in file.transforms.items()]
    if used:
        parameters.append(Parameter("engine", tuple(used)))
    if len(file.device) > 1:
        parameters.append(Parameter("device", file.device))
    check_keys(file, [one.name for one in parameters], document)
    document.check()
    parameters += [_parameter(key, wanted) for key, wanted in file.keys.items()]
    space = Space(
        tuple(parameters),
        file.transforms,
        tuple(dump_recipe(recipe)["transforms"]),
        formats,
        tuple(left_out),
        file.model_dump(mode="json", exclude_defaults=True),
        file.device or ("cpu",),
    )
    if not parameters:
        document.report((), "nothing varies: give transforms, keys or engine")
    check_alternatives(space, recipe, document)
    document.check()
    check_key_values(space, recipe, document)
    document.check()
    return space


def _parameter(name: str, key: Key) -> Parameter:
    when = {
        other: tuple(values) if isinstance(values, list) else (values,) for other, values in key.when.items()
    }
    if key.choices is not None:
        return Parameter(name, key.choices, when=when)
    assert key.range is not None
    low, high = key.range
    return Parameter(name, (), low, high, key.log, key.step, when)


def _engines(
    file: SpaceFile, recipe: Recipe, document: Document
) -> tuple[list[str], dict[str, str], list[str]]:
    """Those that are here, the format that each needs set, and the others with their reasons."""
    known, used, left_out = engines(), list[str](), list[str]()
    formats: dict[str, str] = {}
    for index, name in enumerate(file.engine or ()):
        if name not in known:
            text = f"no engine {name!r}{near_miss(name, known)}; known: {', '.join(known)}"
            document.report(("engine", index), text)
            continue
        reason: Any = known[name].why_not()
        if reason is not None:
            left_out.append(f"engine {name}: {reason}")
            continue
        used.append(name)
        wanted, runs = recipe.export.format, known[name].FORMATS
        if wanted in runs:
            continue
        formats[name] = next(iter(runs))
        if "format" in recipe.export.model_fields_set and "export.format" not in file.keys:
            document.report(
                ("engine", index),
                f"{name} runs {', '.join(runs)}, and the recipe says export.format: {wanted}: leave that out"
                " of the recipe, and each engine has its own; or leave the engine out",
            )
    if file.engine and not used and not document.problems:
        document.report(("engine",), "none of them is here: " + "; ".join(left_out))
    return list(dict.fromkeys(used)), formats, left_out
