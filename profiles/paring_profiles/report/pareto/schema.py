"""`report.json` for other programs: its JSON Schema, derived from the dataclasses."""

from __future__ import annotations

from typing import Any

from paring_profiles.report.pareto.page import SCHEMA_VERSION, Report
from paring_profiles.sweep.schema import DIALECT


def report_schema() -> dict[str, Any]:
    """The schema of `report.json`. Every field is written, defaults too, and no other."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(Report).json_schema(mode="serialization")
    for one in (schema, *schema["$defs"].values()):
        one["additionalProperties"] = False
    schema["properties"]["schema_version"] |= {"const": SCHEMA_VERSION}
    return {"$schema": DIALECT, **schema, "title": f"report.json of paring, version {SCHEMA_VERSION}"}
