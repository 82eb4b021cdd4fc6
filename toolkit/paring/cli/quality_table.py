"""Accuracy under corruptions, and on questions by type, as commands show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .output import console, table

JUDGED = {"generate": "what it says", "choice": "the likeliest of all answers"}


def show_robustness(found: Mapping[str, Any] | None) -> None:
    """A table with a row for each corruption and severity, and their mean; nothing where none is given."""
    if found is None:
        return
    height, width = found["image_size"]
    title = f"robust accuracy: top-1 on corrupted images ({found['strengths']}'s strengths, {height}x{width})"
    rows = [[cell["corruption"], str(cell["severity"]), *_figures(cell)] for cell in found["cells"]]
    rows += [[f"mean of {one['corruption']}", "", *_figures(one)] for one in found["corruptions"]]
    rows.append(["mean", "", *_figures(found["mean"])])
    table(title, ("corruption", "severity", "before", "after", "drop", "95 % interval"), rows)


def _figures(compared: Mapping[str, Any]) -> list[str]:
    after = f"{compared['after']:.4f}"
    if "drop" not in compared:  # a baseline has lost nothing
        return ["-", after, "-", "-"]
    low, high = compared["drop_ci95"]
    return [f"{compared['before']:.4f}", after, f"{compared['drop']:.4f}", f"{low:.4f} to {high:.4f}"]


def show_answers(quality: Mapping[str, Any]) -> None:
    """One artifact's accuracy on questions, by their type."""
    console.print(
        f"quality   {quality['metric']} ({JUDGED[quality['judge']]}) on {quality['samples']} questions,"
        f" {quality['images']} images",
        highlight=False,
    )
    columns = ("before", "after", "drop") if "drop" in quality else ("after",)
    rows = [
        [kind, str(one["samples"]), *(with_interval(one, c) for c in columns)]
        for kind, one in by_type(quality)
    ]
    table("by type, with 95 % intervals", ("type", "questions", *columns), rows)


def by_type(quality: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Each type with its figures, then all questions with theirs."""
    return [*((one["type"], one) for one in quality["types"]), ("all", quality)]


def with_interval(figures: Mapping[str, Any], key: str) -> str:
    """A figure and its 95 % interval."""
    low, high = figures[f"{key}_ci95"]
    return f"{figures[key]:.4f} ({low:.4f} to {high:.4f})"
