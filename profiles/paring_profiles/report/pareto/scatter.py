"""The Pareto scatter: an SVG drawn here, and what the page's script needs to draw other axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from paring_profiles.report.pareto.axes import in_words, label
from paring_profiles.report.pareto.page import Axis, Report, Variant
from paring_profiles.report.pareto.scales import Scale, scale

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 22, 14, 52  # the script's own margins are the same
PLACES = {
    "on": "on the front",
    "maybe": "perhaps on the front",
    "dominated": "dominated",
    "baseline": "baseline",
    "unjudged": "not judged",
}
MARKS = {
    "on": "M-6.5 0a6.5 6.5 0 1 0 13 0a6.5 6.5 0 1 0 -13 0z",
    "maybe": "M0 -7.5L7.5 0L0 7.5L-7.5 0z",
    "dominated": "M-4 -4h8v8h-8z",
    "baseline": "M-2 -7h4v5h5v4h-5v5h-4v-5h-5v-4h5z",
    "unjudged": "M0 -5.5L5.5 4.5h-11z",
}
RING = "M-11 0a11 11 0 1 0 22 0a11 11 0 1 0 -22 0z"


@dataclass(frozen=True)
class Scatter:
    """The drawn SVG, the chosen axes' names, and the script's data; None where fewer than two axes exist."""

    svg: str
    x: str
    y: str
    data: dict[str, Any]


def kind_of(variant: Variant) -> str:
    """The key of `PLACES`."""
    return "baseline" if variant.baseline else variant.place or "unjudged"


def scatter(report: Report) -> Scatter | None:
    """Draw the first two axes (objectives go first) of the first group that has points."""
    drawn = [one for one in report.variants if one.state == "complete" and one.figures]
    axes = [axis for axis in report.axes if any(axis.name in one.figures for one in drawn)]
    if len(axes) < 2 or not drawn:
        return None
    groups = [group for group in report.groups if any(one.group == group for one in drawn)]
    scales = {group: _scales([one for one in drawn if one.group == group], axes) for group in groups}
    x, y = _first(axes, scales[groups[0]])
    taken = report.advice.variant if report.advice else None
    second = report.advice.runner_up if report.advice else None
    data = {
        "x": x.name,
        "y": y.name,
        "group": groups[0],
        "axes": {
            axis.name: {"option": label(axis), "label": _titled(axis), "less": axis.minimise} for axis in axes
        },
        "scales": {
            group: {name: one.ticks for name, one in of_group.items()} for group, of_group in scales.items()
        },
        "points": {one.key: _point(one, axes, scales[one.group]) for one in drawn},
    }
    return Scatter(_svg(drawn, groups[0], x, y, scales[groups[0]], (taken, second)), x.name, y.name, data)


def _first(axes: Sequence[Axis], scales: dict[str, Scale]) -> tuple[Axis, Axis]:
    """Two axes to begin with: what is lost upwards, what is gained to the right."""
    usable = [axis for axis in axes if axis.name in scales]
    objectives = [axis for axis in usable if axis.objective]
    chosen = [*objectives, *(axis for axis in usable if not axis.objective)][:2]
    return chosen[0], chosen[-1]


def _scales(variants: Sequence[Variant], axes: Sequence[Axis]) -> dict[str, Scale]:
    found = {}
    for axis in axes:
        figures = [one.figures[axis.name] for one in variants if axis.name in one.figures]
        if figures:
            found[axis.name] = scale([end for one in figures for end in (one.value, one.low, one.high)])
    return found


def _titled(axis: Axis) -> str:
    return f"{label(axis)}, {'less' if axis.minimise else 'more'} is better"


def _point(variant: Variant, axes: Sequence[Axis], scales: dict[str, Scale]) -> dict[str, Any]:
    figures = {}
    for axis in axes:
        one = variant.figures.get(axis.name)
        if one is not None:
            at = scales[axis.name].at
            places = [round(at(end), 5) for end in (one.value, one.low, one.high)]
            figures[axis.name] = [*places, in_words(one, axis)]
    said = PLACES[kind_of(variant)]
    if variant.place == "maybe":
        said += f" ({variant.probability:.0%})"
    return {"group": variant.group, "name": variant.name, "place": said, "figures": figures}


def _svg(
    variants: Sequence[Variant],
    group: str,
    x: Axis,
    y: Axis,
    scales: dict[str, Scale],
    ringed: tuple[str | None, str | None],
) -> str:
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    parts = [
        f'<svg id="scatter" class="plot scatter" viewBox="0 0 {WIDTH} {HEIGHT}" role="group"'
        f' aria-label="Scatter of variants: {escape(_titled(x))}; {escape(_titled(y))}">',
        '<g class="grid">',
    ]
    for at, text in scales[x.name].ticks:
        left = LEFT + at * wide
        parts.append(f'<path d="M{left:.1f} {TOP}v{high}"/>')
        parts.append(f'<text x="{left:.1f}" y="{TOP + high + 18}" text-anchor="middle">{escape(text)}</text>')
    for at, text in scales[y.name].ticks:
        top = TOP + (1 - at) * high
        parts.append(f'<path d="M{LEFT} {top:.1f}h{wide}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{top + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    parts.append("</g>")
    parts.append(f'<path class="best" d=""/><text class="title" data-axis="x" x="{LEFT + wide / 2}"')
    parts.append(f' y="{HEIGHT - 10}" text-anchor="middle">{escape(_titled(x))}</text>')
    middle = TOP + high / 2
    parts.append(f'<text class="title" data-axis="y" transform="translate(14 {middle}) rotate(-90)"')
    parts.append(f' text-anchor="middle">{escape(_titled(y))}</text><g class="points">')
    # The front is drawn last: it lies above.
    for one in sorted(variants, key=lambda v: list(PLACES).index(kind_of(v)), reverse=True):
        parts.append(_mark(one, group, x, y, scales, ringed))
    return "".join([*parts, "</g></svg>"])


def _mark(
    one: Variant,
    group: str,
    x: Axis,
    y: Axis,
    scales: dict[str, Scale],
    ringed: tuple[str | None, str | None],
) -> str:
    kind = kind_of(one)
    found_x, found_y = one.figures.get(x.name), one.figures.get(y.name)
    words = [f"Variant {one.key}" if not one.baseline else "", one.name, PLACES[kind]]
    words += [f"{axis.title} {in_words(f, axis)}" for axis, f in ((x, found_x), (y, found_y)) if f]
    said = escape(", ".join(word for word in words if word))
    ring = ""
    if one.key in ringed:
        ring = f'<path class="ring{" second" if one.key == ringed[1] else ""}" d="{RING}"/>'
    head = f'<a class="point {kind}" href="#variant-{escape(one.key)}" data-key="{escape(one.key)}"'
    if one.group != group or found_x is None or found_y is None:
        bars, place, hidden = "", "", ' style="display:none"'
    else:
        wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        across, up = scales[x.name].at, scales[y.name].at
        left, top = LEFT + across(found_x.value) * wide, TOP + (1 - up(found_y.value)) * high
        place, hidden = f' transform="translate({left:.1f} {top:.1f})"', ""
        ends = [LEFT + across(end) * wide - left for end in (found_x.low, found_x.high)]
        tips = [TOP + (1 - up(end)) * high - top for end in (found_y.low, found_y.high)]
        bars = f"M{ends[0]:.1f} 0H{ends[1]:.1f}M0 {tips[0]:.1f}V{tips[1]:.1f}"
    number = "" if one.baseline else escape(one.key)
    return (
        f'{head} aria-label="{said}"{place}{hidden}><title>{said}</title>'
        f'<path class="bars" d="{bars}"/>{ring}<path class="hit" d="{RING}"/>'
        f'<path class="mark" d="{MARKS[kind]}"/><text x="9" y="-8">{number}</text></a>'
    )
