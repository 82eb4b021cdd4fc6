"""Accuracy on questions about images, by their type, as the manifests of candidates hold it."""

from __future__ import annotations

from typing import Any

from paring_profiles.report import quantities, robustness, tables
from paring_profiles.result import Profile

ACCURACY = "accuracy"  # what is shown is a share, read in percent and points


def before_after(profile: Profile) -> list[tables.Group]:
    """The main table, with a group for accuracy by type of question where some candidate has it."""
    groups = robustness.before_after(profile)
    every = [_types(candidate.quality) for candidate in profile.candidates]
    names = sorted({name for found in every for name in found})
    if not names:
        return groups
    rows = []
    for name in names:
        found = [types.get(name) for types in every]
        rows.append(tables.Row(f"Accuracy, {name}", "measured", tuple(_accuracy(one) for one in found)))
        rows.append(tables.Row(f"Drop, {name}", "measured", tuple(_drop(one) for one in found)))
    return [*groups, tables.Group("By type of question", tuple(rows))]


def _types(quality: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    return {one["type"]: one for one in (quality or {}).get("types", ())}


def _accuracy(found: dict[str, Any] | None) -> tables.Cell:
    if found is None:
        return tables.Cell("not measured")
    between = quantities.metric_between(ACCURACY, found["after_ci95"])
    value = quantities.metric_value(ACCURACY, found["after"])
    return tables.Cell(value, f"{between}; {found['samples']:,} questions")


def _drop(found: dict[str, Any] | None) -> tables.Cell:
    if found is None:
        return tables.Cell("not measured")
    if "drop" not in found:
        return tables.Cell("baseline")
    between = quantities.metric_between(ACCURACY, found["drop_ci95"])
    return tables.Cell(
        quantities.metric_drop(ACCURACY, found["drop"]),
        f"{between}; from {quantities.metric_value(ACCURACY, found['before'])}",
    )
