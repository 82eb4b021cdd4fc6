"""A JSON schema (draft 2020-12) that is derived from dataclasses, as `records.decode` reads them."""

from __future__ import annotations

import dataclasses
import json
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

from paring_profiles.report.pareto.page import SCHEMA_VERSION, Report

FILE_NAME = "report.schema.json"
_PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number"}


def report_schema() -> dict[str, Any]:
    """The schema of `report.json`."""
    definitions: dict[str, Any] = {}
    root = _schema(Report, definitions)
    found = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"report.json of paring, version {SCHEMA_VERSION}",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }
    found["$defs"]["Report"]["properties"]["schema_version"]["const"] = SCHEMA_VERSION
    return found


def schema_text() -> str:
    """The schema's file."""
    return json.dumps(report_schema(), indent=1) + "\n"


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type; dataclasses are collected in `definitions`."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return {}
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        _define(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(arg, definitions) for arg in args if arg is not type(None)] + [_NULL]}
    if origin is list:
        return {"type": "array", "items": _schema(args[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(args[1], definitions)}
    raise TypeError(f"{kind}: no schema for it")


_NULL = {"type": "null"}


def _define(kind: type, definitions: dict[str, Any]) -> None:
    if kind.__name__ in definitions:
        return
    definitions[kind.__name__] = {}  # so that a type that holds itself ends
    hints = get_type_hints(kind)
    fields = dataclasses.fields(kind)
    definitions[kind.__name__] = {
        "type": "object",
        "description": (kind.__doc__ or "").partition("\n")[0],
        "properties": {one.name: _schema(hints[one.name], definitions) for one in fields},
        # Everything is written, defaults too.
        "required": [one.name for one in fields],
        "additionalProperties": False,
    }
