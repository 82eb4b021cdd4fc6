"""Accuracy under corruptions of the images, as the manifests of candidates hold it."""

from __future__ import annotations

from typing import Any

from paring_profiles.report import quantities, tables
from paring_profiles.result import Candidate, Profile

ACCURACY = "accuracy"  # what is shown is a share, read in percent and points
HEADER = ("Corruption", "Severity", "Before", "After", "Drop, points", "95 % interval")
Robustness = dict[str, Any]


def before_after(profile: Profile) -> list[tables.Group]:
    """The main table, with a group for the robust accuracy where some candidate has one."""
    groups = tables.before_after(profile)
    every = [_robustness(candidate) for candidate in profile.candidates]
    if not any(every):
        return groups
    names = dict.fromkeys(one["corruption"] for found in every if found for one in found["corruptions"])
    rows = [_row("Robust accuracy, mean", [found["mean"] if found else None for found in every])]
    rows += [_row(f"Under {_words(name)}", [_named(found, name) for found in every]) for name in names]
    return [*groups, tables.Group("Under corruptions", tuple(rows))]


def robustness_tables(profile: Profile) -> list[tuple[str, tables.Table]]:
    """For each candidate that was compared: a title, and a row for each corruption and severity."""
    found = []
    for candidate in profile.candidates:
        robustness = _robustness(candidate)
        if not robustness or "drop" not in robustness["mean"]:
            continue
        height, width = robustness["image_size"]
        title = f"{candidate.name}: corrupted images, {robustness['strengths']} at {height} × {width} pixels"
        rows = [_figures(_words(c["corruption"]), str(c["severity"]), c) for c in robustness["cells"]]
        rows.append(_figures("mean", tables.ABSENT, robustness["mean"]))
        found.append((title, tables.Table(HEADER, tuple(rows))))
    return found


def _robustness(candidate: Candidate) -> Robustness | None:
    return (candidate.quality or {}).get("robustness")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _named(found: Robustness | None, name: str) -> dict[str, Any] | None:
    return next((one for one in found["corruptions"] if one["corruption"] == name), None) if found else None


def _row(label: str, compared: list[dict[str, Any] | None]) -> tables.Row:
    return tables.Row(label, "measured", tuple(_cell(one) for one in compared))


def _cell(compared: dict[str, Any] | None) -> tables.Cell:
    if compared is None:
        return tables.Cell("not measured")
    value = quantities.metric_value(ACCURACY, compared["after"])
    if "drop" not in compared:
        return tables.Cell(value)
    between = quantities.metric_between(ACCURACY, compared["drop_ci95"])
    return tables.Cell(value, f"drop {quantities.metric_drop(ACCURACY, compared['drop'])}; {between}")


def _figures(name: str, severity: str, compared: dict[str, Any]) -> tuple[str, ...]:
    before, after = (quantities.metric_value(ACCURACY, compared[key]) for key in ("before", "after"))
    drop = quantities.fixed(100 * compared["drop"], 1)
    return (name, severity, before, after, drop, quantities.metric_between(ACCURACY, compared["drop_ci95"]))
