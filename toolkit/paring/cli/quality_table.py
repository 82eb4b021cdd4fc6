"""Accuracy under corruptions, as `convert` and `inspect` show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .output import table


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
