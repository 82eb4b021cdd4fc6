"""Hold what a conversion lost of its accuracy against the recipe's gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paring_runtimes.errors import GateError, RecipeError

from .quality import Quality
from .recipe import Gate, Recipe


def gate(recipe: Recipe, found: Quality, counted: str = "images") -> None:
    """Hold the measured drop against each gate; `counted` names the samples.

    Raises:
        GateError: with the figures.
    """
    for rule in recipe.gates:
        assert rule.max_drop is not None  # looked at before anything was exported
        measured, where = _held(rule, found)
        low, high = measured["drop_ci95"]
        drop = high if rule.confidence == "bound" else measured["drop"]
        if drop > rule.max_drop:
            what = "upper end of the drop's interval" if rule.confidence == "bound" else "drop"
            raise GateError(
                f"{rule.metric}{where}: {what} {drop:.4f} exceeds max_drop {rule.max_drop:.4f}: accuracy"
                f" {measured['before']:.4f} before, {measured['after']:.4f} after, drop"
                f" {measured['drop']:.4f} (95 % interval {low:.4f} to {high:.4f}) on {found.samples}"
                f" {counted}"
            )


def _held(rule: Gate, found: Quality) -> tuple[Mapping[str, Any], str]:
    """What a gate holds: figures with `before`, `after`, `drop`, `drop_ci95`; and under what, in words."""
    if rule.corruption is None:
        return found.as_dict(), ""
    if found.robustness is None:
        raise RecipeError(f"gates: {rule.corruption} is not measured: add robustness: {{}}")
    if rule.corruption == "mean":
        return found.robustness["mean"], " under corruptions, mean"
    named = {one["corruption"]: one for one in found.robustness["corruptions"]}
    return named[rule.corruption], f" under {rule.corruption}"
