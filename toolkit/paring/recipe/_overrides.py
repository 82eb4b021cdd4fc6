"""`--set KEY=VALUE`: change one value of a recipe from outside."""

from __future__ import annotations

import re
import sys
from typing import Any

from paring_runtimes.suggest import near_miss

from ._models import Recipe
from ._yaml import Document, Path, Place, Problem, dotted, read

WORD = re.compile(r"\.?([A-Za-z_][\w-]*)|\[(\d+)\]")
SHORT = 60


def override(document: Document, text: str) -> None:
    """Apply one override to the document; what is wrong with it joins the problems."""
    label = f"--set {text if len(text) <= SHORT else text[:SHORT] + '…'}"
    place = Place(sys.maxsize, label)
    try:
        key, value = _parse(text)
        path = _resolve(key, document.data)
        _assign(document.data, path, value)
    except _OverrideError as error:
        document.problems.append(Problem(place, str(error)))
        return
    for known in [known for known in document.places if known[: len(path)] == path]:
        del document.places[known]
    document.places[path] = place


class _OverrideError(Exception):
    pass


def _parse(text: str) -> tuple[Path, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise _OverrideError("KEY=VALUE is needed, as in export.opset=20")
    parsed = read(value, "value")
    if parsed.problems:
        raise _OverrideError(f"the value {value!r} is {parsed.problems[0].text}")
    return _split(key.strip()), parsed.data


def _split(key: str) -> Path:
    path: list[str | int] = []
    at = 0
    while at < len(key):
        found = WORD.match(key, at)
        if found is None:
            raise _OverrideError(f"the key {key!r} is no path such as transforms[0].keep_ratio")
        path.append(found[1] if found[1] is not None else int(found[2]))
        at = found.end()
    return tuple(path)


def _resolve(path: Path, data: dict[str, Any]) -> Path:
    """The full path: a step may be named by its place, or by its transform where that is unique."""
    steps = [_name(step) for step in data.get("transforms") or []]
    if path[0] == "transforms":
        if len(path) < 3 or not isinstance(path[1], int) or path[1] >= len(steps):
            return path
        name = steps[path[1]]
        rest = path[3:] if path[2] == name else path[2:]
        return ("transforms", path[1], name, *rest)
    if path[0] in Recipe.model_fields:
        return path
    places = [index for index, name in enumerate(steps) if name == path[0]]
    if len(places) == 1:
        return ("transforms", places[0], *path)
    if places:
        choices = " or ".join(f"transforms[{index}]" for index in places)
        raise _OverrideError(f"the recipe has {path[0]!r} {len(places)} times: say {choices}")
    known = [*Recipe.model_fields, *dict.fromkeys(steps)]
    raise _OverrideError(
        f"the recipe has no {path[0]!r}{near_miss(path[0], known)}; known here: {', '.join(known)}"
    )


def _name(step: Any) -> str:
    """The transform of a step, or "" when the step is none."""
    return str(next(iter(step))) if isinstance(step, dict) and len(step) == 1 else ""


def _assign(data: Any, path: Path, value: Any) -> None:
    for depth, part in enumerate(path):
        where = dotted(path[:depth]) or "the recipe"
        if isinstance(part, int):
            if not isinstance(data, list):
                raise _OverrideError(f"{where} is no list")
            if part >= len(data):
                raise _OverrideError(f"{where} has {len(data)} entries, counted from 0")
        elif not isinstance(data, dict):
            raise _OverrideError(f"{where} is no mapping")
        if depth == len(path) - 1:
            data[part] = value
        elif isinstance(data, dict) and data.get(part) is None:
            data[part] = {}
        data = data[part]
