"""Plots as inline SVG that takes its colours from the page, light or dark.

Matplotlib draws with sentinel colours; `_finish` replaces each by a CSS variable. Figures are drawn
for a phone's width, and the page shows several side by side where there is room.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from paring_profiles.report import details, quantities
from paring_profiles.report.tables import latency_at
from paring_profiles.result import Comparison, Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN = 5.2  # at 72 units an inch: text of 10 units is 10 px on a screen 374 px wide
SERIES = 6
LEGEND_ROW_IN = 0.21
LONGEST_NAME = 40  # characters, in plots
MAX_STEPS = 301  # of a distribution: finer would not show, and would weigh megabytes
INK, MUTED, GRID = "#010101", "#010102", "#010103"
COLOURS = tuple(f"#0102{index:02x}" for index in range(SERIES))
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P")
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid"} | {
    colour: f"series-{index}" for index, colour in enumerate(COLOURS)
}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "paring",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.labelcolor": INK,
    "hatch.linewidth": 0.8,
}


@dataclass(frozen=True)
class Plot:
    """An inline `<svg>` with its title and what a reader should know to read it."""

    svg: str
    title: str
    caption: str = ""


def curve(points: dict[str, Any]) -> Plot:
    """Accuracy against speed-up, one line a transform, both with their intervals."""
    metric = str(points["metric"])
    percent = 100 if quantities.as_share(metric) else 1
    transforms = list(dict.fromkeys(str(point["transform"]) for point in points["points"]))
    with _axes("curve", 3.9) as (axes, finish):
        lines = {name: [p for p in points["points"] if str(p["transform"]) == name] for name in transforms}
        outermost = max(lines, key=lambda name: _reach(lines[name]))
        for index, (name, of_one) in enumerate(lines.items()):
            _curve_line(axes, index, name, of_one, percent)
            _curve_labels(axes, index, of_one, percent, above=name == outermost)
        axes.axvline(1, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_xlabel("speed-up: latency of the baseline / latency")
        axes.set_ylabel(f"{metric}, %" if percent == 100 else metric)
        axes.margins(0.08)
        _legend(axes)
        title = f"{metric[:1].upper()}{metric[1:]} against speed-up"
        caption = "Bars are 95 % intervals; the numbers at the points are keep ratios."
        return Plot(finish(title), title, caption)


def _curve_line(axes: Axes, index: int, name: str, points: list[dict[str, Any]], percent: int) -> None:
    points = sorted(points, key=lambda point: point["latency_ratio"])
    x = np.array([point["latency_ratio"] for point in points])
    y = np.array([point["accuracy"] for point in points]) * percent
    x_bounds = np.array([point["latency_ratio_ci95"] for point in points]).T
    y_bounds = np.array([point["accuracy_ci95"] for point in points]).T * percent
    axes.errorbar(
        x,
        y,
        xerr=np.abs(x_bounds - x),
        yerr=np.abs(y_bounds - y),
        color=_colour(index + 1),
        linestyle=LINES[index % len(LINES)],
        marker=_marker(index),
        markersize=5,
        elinewidth=1,
        capsize=2,
        label=_shown(name),
    )


def _reach(points: list[dict[str, Any]]) -> float:
    """Grows towards the upper right, where accuracy and speed-up are both high."""
    return float(np.mean([point["accuracy"] * point["latency_ratio"] for point in points]))


def _curve_labels(axes: Axes, index: int, points: list[dict[str, Any]], percent: int, above: bool) -> None:
    """Keep ratios at the points: the outermost line's above, the others' below, clear of it."""
    for point in points:
        if point.get("keep_ratio") is None:
            continue
        axes.annotate(
            f"{point['keep_ratio']:g}",
            (point["latency_ratio"], point["accuracy"] * percent),
            xytext=(4, 5) if above else (-4, -12),
            textcoords="offset points",
            ha="left" if above else "right",
            fontsize=9,
            color=_colour(index + 1),
        )


def latencies(profile: Profile, batch_size: int) -> Plot | None:
    """The share of calls at or below each measured latency; None without samples."""
    found = [(i, c, latency_at(c, batch_size)) for i, c in enumerate(profile.candidates)]
    drawn = [
        (index, candidate.name, np.sort(latency.samples_ms))
        for index, candidate, latency in found
        if latency and latency.samples_ms and latency.provenance == "measured"
    ]
    if not drawn:
        return None
    right = max(float(np.quantile(samples, 0.99)) for _, _, samples in drawn)
    left = min(float(samples[0]) for _, _, samples in drawn)
    beyond = sum(int((samples > right).sum()) for _, _, samples in drawn)
    title = f"Latencies at batch {batch_size}"
    with _axes(f"latency-{batch_size}", 2.7 + LEGEND_ROW_IN * len(drawn)) as (axes, finish):
        for index, name, samples in drawn:
            share = np.linspace(0, 100, min(len(samples), MAX_STEPS))
            steps = np.quantile(samples, share / 100, method="inverted_cdf")
            look = {"color": _colour(index), "linestyle": LINES[index % len(LINES)]}
            axes.step(steps, share, where="post", linewidth=1.8, label=_shown(name), **look)
            axes.plot([np.median(samples)], [50], marker=_marker(index), color=_colour(index))
        margin = 0.03 * (right - left or right)
        axes.set_xlim(left - margin, right + margin)
        axes.set_ylim(0, 100)
        axes.set_xlabel("latency, ms a call")
        axes.set_ylabel("calls at or below, %")
        _legend(axes)
        caption = f"Points mark medians. {beyond:,} calls lie beyond the right edge."
        return Plot(finish(title), title, caption)


def realised(profile: Profile) -> Plot | None:
    """Pairs of bars: the measured speed-up with its interval, and the ideal one from MACs."""
    rows = [c for c in profile.comparisons if c.mac_ratio is not None]
    if not rows:
        return None
    names = [candidate.name for candidate in profile.candidates]
    with _axes("realised", 0.9 + 0.72 * len(rows)) as (axes, finish):
        for place, comparison in enumerate(rows):
            colour = _colour(names.index(comparison.candidate))
            _realised_pair(axes, place, comparison, colour)
        axes.axvline(1, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_ylim(len(rows) - 0.35, -0.6)
        axes.set_yticks([])
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("times as fast: solid realised, hatched ideal")
        title = "Realised and ideal speed-up"
        return Plot(
            finish(title),
            title,
            "Realised is the ratio of latencies, ideal that of MACs; the number is their quotient.",
        )


def _realised_pair(axes: Axes, place: int, comparison: Comparison, colour: str) -> None:
    low, high = comparison.latency_ratio_ci95
    value, ideal = comparison.latency_ratio, comparison.mac_ratio or 0.0
    axes.barh(place, value, 0.24, color=colour)
    axes.barh(place + 0.25, ideal, 0.24, facecolor="none", edgecolor=colour, hatch="////")
    error = [[max(0.0, value - low)], [max(0.0, high - value)]]
    axes.errorbar(value, place, xerr=error, color=INK, elinewidth=1.2, capsize=3)
    share = "" if comparison.realised is None else f": {comparison.realised:.2f}"
    label = f"{_shown(comparison.candidate)}, batch {comparison.batch_size}"
    axes.text(0, place - 0.18, label + share, va="bottom", ha="left", color=INK)


def tokens(profile: Profile) -> Plot | None:
    """How many tokens each layer works on."""
    known = sum(candidate.tokens_per_layer is not None for candidate in profile.candidates)
    if known == 0:
        return None
    with _axes("tokens", 2.5 + LEGEND_ROW_IN * known) as (axes, finish):
        for index, candidate in enumerate(profile.candidates):
            counts = candidate.tokens_per_layer
            if not counts:
                continue
            layers = np.arange(1, len(counts) + 1)
            look = {"color": _colour(index), "linestyle": LINES[index % len(LINES)]}
            axes.step(layers, counts, where="mid", linewidth=1.8, label=_shown(candidate.name), **look)
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("layer")
        axes.set_ylabel("tokens")
        _legend(axes)
        title = "Tokens per layer"
        return Plot(finish(title), title)


def operators(profile: Profile, batch_size: int) -> Plot | None:
    """Time by kind of operator, one bar a candidate; None without the engine's own profile."""
    names = details.top_operators(profile, batch_size)
    if not names:
        return None
    drawn = [
        (index, candidate.name, details.operator_ms(candidate, batch_size))
        for index, candidate in enumerate(profile.candidates)
        if candidate.operators.get(str(batch_size))
    ]
    thick = 0.8 / len(drawn)
    height = 0.8 + LEGEND_ROW_IN * len(drawn) + len(names) * (0.12 + 0.14 * len(drawn))
    with _axes(f"operators-{batch_size}", height) as (axes, finish):
        for row, (index, name, times) in enumerate(drawn):
            places = np.arange(len(names)) - 0.4 + thick * (row + 0.5)
            axes.barh(
                places,
                [times.get(operator, 0.0) for operator in names],
                thick * 0.86,
                color=_colour(index),
                label=_shown(name),
            )
        axes.set_yticks(np.arange(len(names)), [_shown(name) for name in names], color=INK)
        axes.set_ylim(len(names) - 0.45, -0.55)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("ms a call")
        _legend(axes)
        title = f"Time by operator at batch {batch_size}"
        return Plot(finish(title), title)


@contextmanager
def _axes(name: str, height_in: float) -> Iterator[tuple[Axes, Callable[[str], str]]]:
    """Axes in the report's style, and the function that turns them into an `<svg>`."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        axes = figure.add_subplot()

        def finish(alt: str) -> str:
            stream = StringIO()
            nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            with warnings.catch_warnings():
                # The reader's browser brings the fonts: what matplotlib's lack does not matter.
                warnings.filterwarnings("ignore", message="Glyph")
                figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
            return _finish(stream.getvalue(), name, alt)

        yield axes, finish


def _finish(svg: str, name: str, alt: str) -> str:
    """Cuts prolog and global style, and rewrites the tags: text between them stays as it is."""
    svg = re.sub(r"<style.*?</style>", "", svg[svg.index("<svg") :], count=1, flags=re.DOTALL)
    svg = re.sub(r"<[^>]+>", lambda tag: _rewritten(tag[0], name), svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    root = f'<svg {_ROOT} {box[0] if box else ""} role="img" aria-label="{escape(alt)}">'
    return (root + svg[svg.index(">") + 1 :]).strip()


_ROOT = 'class="plot" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def _rewritten(tag: str, name: str) -> str:
    """A tag with ids that are unique in the document and with the page's colours."""
    tag = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", tag)
    return re.sub(r'((?:fill|stroke)(?:: |="))(#01010[1-3]|#01020[0-5])\b', _variable, tag)


def _variable(match: re.Match[str]) -> str:
    return f"{match[1]}var(--{_VARIABLES[match[2]]})"


def _colour(index: int) -> str:
    """The baseline's colour is its own; the others share the rest in turn."""
    return COLOURS[0] if index == 0 else COLOURS[1 + (index - 1) % (SERIES - 1)]


def _marker(index: int) -> str:
    return MARKERS[index % len(MARKERS)]


def _legend(axes: Axes) -> None:
    """The legend above the axes, one entry a row: names may be long and screens narrow."""
    handles, labels = axes.get_legend_handles_labels()
    axes.figure.legend(handles, labels, loc="outside upper left", ncols=1)


def _shown(name: str) -> str:
    """A name that SVG may hold and matplotlib takes as it is (a leading `_` would hide it)."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    if len(clean) > LONGEST_NAME:  # candidates often differ at the end: the middle is left out
        clean = f"{clean[: LONGEST_NAME // 2]}…{clean[1 - LONGEST_NAME // 2 :]}"
    return f"\N{ZERO WIDTH SPACE}{clean}" if clean.startswith("_") else clean
