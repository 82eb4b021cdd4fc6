"""`sweep.json` for other programs: its JSON Schema, derived from the dataclasses."""

from __future__ import annotations

from typing import Any

from paring_profiles.sweep.result import SCHEMA_VERSION, Sweep

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def sweep_schema() -> dict[str, Any]:
    """The JSON Schema of `sweep.json`; a reader of version N reads every version up to N."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(Sweep).json_schema()
    schema["properties"]["schema_version"] |= {"maximum": SCHEMA_VERSION}
    return {"$schema": DIALECT, **schema}
