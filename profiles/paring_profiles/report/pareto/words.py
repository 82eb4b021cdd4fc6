"""The report's sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from paring_profiles.report import quantities
from paring_profiles.report.pareto.axes import in_words
from paring_profiles.report.pareto.page import Advice, Axis, Variant
from paring_profiles.sweep.result import STATES


def counted(variants: Sequence[Variant], of: str = "") -> str:
    """How many variants ended how, and how many are on the front; `of` is put behind their number."""
    states = Counter(one.state for one in variants)
    places = Counter(one.place for one in variants)
    listed = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
    ahead = f"{places['on']} on the front, {places['maybe']} perhaps on it, {places['dominated']} dominated"
    return f"{len(variants)} variants{of} ({listed}): {ahead}"


def headline(variants: Sequence[Variant], axes: Sequence[Axis], advice: Advice | None, what: str) -> str:
    """One sentence: what to take, or what is best in the first objective on the front."""
    known = {one.key: one for one in variants}
    if advice is not None and advice.variant is not None:
        best = known[advice.variant]
        return f"Take variant {best.key}{_list(best, axes)}."
    if advice is not None:
        return f"No variant of {what} keeps to {'; '.join(advice.constraints)}."
    front = [one for one in variants if one.place in ("on", "maybe")]
    objectives = [axis for axis in axes if axis.objective]
    if not front or not objectives:
        return f"No variant of {what} is complete yet."
    first = objectives[0]
    sign = 1 if first.minimise else -1
    best = min(
        (one for one in front if first.name in one.figures), key=lambda v: sign * v.figures[first.name].value
    )
    word = "least" if first.minimise else "most"
    return f"Of {what}, {_told(best)} has the {word} {first.title}{_list(best, objectives)}."


def _told(variant: Variant) -> str:
    return f"variant {variant.key} ({variant.name})"


def _list(variant: Variant, axes: Sequence[Axis]) -> str:
    told = [
        f"{axis.title} {in_words(variant.figures[axis.name], axis).removesuffix(' modelled')}"
        for axis in axes
        if axis.objective and axis.name in variant.figures
    ]
    return f": {', '.join(told)}" if told else ""


def quality_sentences(quality: Mapping[str, Any] | None) -> list[str]:
    """A manifest's quality: before, after, the drop, each with its interval, and on what."""
    if not quality or quality.get("after") is None:
        return []
    metric = str(quality.get("metric", "quality"))
    lines = []
    for key, word in (("after", "this variant"), ("before", "the source")):
        if quality.get(key) is not None:
            ends = quality.get(f"{key}_ci95")
            interval = f" ({quantities.metric_between(metric, ends)})" if ends else ""
            lines.append(f"{metric} of {word}: {quantities.metric_value(metric, quality[key])}{interval}.")
    if quality.get("drop") is not None:
        ends = quality.get("drop_ci95")
        interval = f" ({quantities.metric_between(metric, ends)})" if ends else ""
        doubt = ", no difference shown" if ends and ends[0] <= 0 <= ends[1] else ""
        lines.append(f"Lost: {quantities.metric_drop(metric, quality['drop'])}{interval}{doubt}.")
    if quality.get("increase") is not None:
        low, high = quality.get("increase_ci95") or (quality["increase"],) * 2
        value = quantities.fixed(100 * quality["increase"], 2)
        ends_text = f"{quantities.fixed(100 * low, 2)} to {quantities.fixed(100 * high, 2)}"
        lines.append(f"Increase over the source: {value} % ({ends_text}).")
    if quality.get("samples"):
        lines.append(
            f"On {quality['samples']:,} samples of {quality.get('data') or 'unnamed data'}, measured."
        )
    return lines
