"""What pydantic found, in words that name the key, the value and what would be right."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ValidationError

from paring_runtimes.suggest import near_miss

from ._yaml import Document, Path

LONG = 60


def validated(model: type[BaseModel], data: Any, document: Document, prefix: Path = ()) -> BaseModel | None:
    """`data` as `model`, or None with every problem reported at `prefix` and below."""
    try:
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        schema = model.model_json_schema()
        errors = error.errors(include_url=False, include_context=False)
        places = [tuple(found["loc"]) for found in errors]
        for found, path in zip(errors, places, strict=True):
            if any(len(other) > len(path) and other[: len(path)] == path for other in places):
                continue  # a list is wrong because an entry of it is
            document.report((*prefix, *path), _text(found["type"], found["input"], schema, path))
        return None


def _text(kind: str, value: Any, schema: dict[str, Any], path: Path) -> str:
    if kind == "extra_forbidden":
        known = list(_at(schema, path[:-1]).get("properties", {}))
        listed = f"; known: {', '.join(known)}" if known else "; it takes no keys"
        return f"unknown key{near_miss(path[-1], known)}{listed}"
    node = _at(schema, path)
    plain = "properties" not in node and "description" in node
    about = f" ({node['description']})" if plain else ""
    if kind == "missing":
        return f"is missing: {_describe(node, schema)}{about}"
    choices = [choice for choice in _choices(node, schema) if isinstance(choice, str)]
    close = near_miss(value, choices) if isinstance(value, str) else ""
    return f"{_shown(value)} is not {_describe(node, schema)}{close or about}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONG else f"{text[:LONG]}…"


def _followed(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        target: dict[str, Any] = schema["$defs"][node["$ref"].rpartition("/")[2]]
        return target
    return node


def _options(node: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives of a schema, those within alternatives too."""
    node = _followed(node, schema)
    if "anyOf" not in node:
        return [node]
    return [option for part in node["anyOf"] for option in _options(part, schema)]


def _at(schema: dict[str, Any], path: Path) -> dict[str, Any]:
    """The part of a JSON Schema that describes the value at `path`; {} when there is none."""
    node = schema
    for part in path:
        children = [_child(option, part) for option in _options(node, schema)]
        node = _followed(next((child for child in children if child), {}), schema)
    if "anyOf" in node and "description" not in node:
        node = next((part for part in _options(node, schema) if "properties" in part), node)
    return node


def _child(node: dict[str, Any], part: str | int) -> dict[str, Any]:
    if isinstance(part, str):
        found: dict[str, Any] = node.get("properties", {}).get(part, {})
        return found
    positions = node.get("prefixItems", [])
    chosen: dict[str, Any] = positions[part] if part < len(positions) else node.get("items", {})
    return chosen


def _choices(node: dict[str, Any], schema: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    for option in _options(node, schema):
        found += [option["const"]] if "const" in option else option.get("enum", [])
    return found


def _describe(node: dict[str, Any], schema: dict[str, Any]) -> str:
    """What a schema wants, in words: "a number from 0.01 to 1"."""
    node = _followed(node, schema)
    if "anyOf" in node:
        return " or ".join(_describe(option, schema) for option in node["anyOf"])
    choices = _choices(node, schema)
    if choices:
        shown = ", ".join(json.dumps(choice) for choice in choices)
        return f"one of {shown}" if len(choices) > 1 else shown
    kind = node.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _range(node)
    if kind == "array":
        return _list(node, schema)
    if kind == "object":
        return f"a mapping with the keys {', '.join(node.get('properties', {}))}"
    words = {"boolean": "true or false", "string": "text", "null": "null"}
    return words.get(str(kind), "what belongs here")


def _list(node: dict[str, Any], schema: dict[str, Any]) -> str:
    if "prefixItems" in node:
        return f"a list of {len(node['prefixItems'])}"
    items = _describe(node.get("items", {}), schema)
    least = node.get("minItems", 0)
    return f"a list, each {items}" + (f", at least {least} of them" if least else "")


def _range(node: dict[str, Any]) -> str:
    low, high, above = (node.get(key) for key in ("minimum", "maximum", "exclusiveMinimum"))
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    if low is not None:
        return f" of at least {low:g}"
    if above is not None:
        return f" above {above:g}"
    return f" of at most {high:g}" if high is not None else ""
