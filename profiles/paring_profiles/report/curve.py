"""Accuracy against speed-up: one line a transform, its keep ratios beside the points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from paring_profiles.report import quantities
from paring_profiles.report.drawing import (
    LINES,
    MUTED,
    Plot,
    add_legend,
    colour_of,
    marker_of,
    new_axes,
    shown,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]  # left, bottom, width, height; pixels
LABEL_SIZE = 9
# Where a label may stand about its point, in points, best first.
AROUND = (
    (11, 8), (-11, -8), (-11, 8), (11, -8), (0, 13), (0, -13), (16, 0), (-16, 0),
    (20, 15), (-20, -15), (-20, 15), (20, -15), (0, 24), (0, -24),
)  # fmt: skip


def curve(points: dict[str, Any]) -> Plot:
    """Accuracy against speed-up, one line a transform, both with their intervals."""
    metric = str(points["metric"])
    percent = 100 if quantities.as_share(metric) else 1
    transforms = list(dict.fromkeys(str(point["transform"]) for point in points["points"]))
    with new_axes("curve", 3.9) as (axes, finish):
        lines = {name: [p for p in points["points"] if str(p["transform"]) == name] for name in transforms}
        for index, (name, of_one) in enumerate(lines.items()):
            _curve_line(axes, index, name, of_one, percent)
        axes.axvline(1, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_xlabel("speed-up: latency of the baseline / latency")
        axes.set_ylabel(f"{metric}, %" if percent == 100 else metric)
        axes.margins(0.08)
        add_legend(axes)
        label(axes, list(lines.values()), percent)
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
        color=colour_of(index + 1),
        linestyle=LINES[index % len(LINES)],
        marker=marker_of(index),
        markersize=5,
        elinewidth=1,
        capsize=2,
        label=shown(name),
    )


def label(axes: Axes, lines: list[list[dict[str, Any]]], percent: int) -> list[Box]:
    """Write keep ratios at the points, each where it covers other labels, points and intervals least."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]  # the layout decides where the points are
    points = [(index, point) for index, line in enumerate(lines) for point in line]
    places = [(point["latency_ratio"], point["accuracy"] * percent) for _, point in points]
    taken = [box for _, point in points for box in _bars(axes, point, percent)]
    written, scale = [], axes.figure.dpi / 72
    for (index, point), place in zip(points, places, strict=True):
        if point.get("keep_ratio") is None:
            continue
        text = f"{point['keep_ratio']:g}"
        width, height = 5.4 * len(text) * scale, LABEL_SIZE * scale
        x, y = axes.transData.transform(place)
        boxes = [
            (x + dx * scale - width / 2, y + dy * scale - height / 2, width, height) for dx, dy in AROUND
        ]
        best = min(range(len(AROUND)), key=lambda i: (sum(overlap(boxes[i], box) for box in taken), i))
        taken.append(boxes[best])
        written.append(boxes[best])
        axes.annotate(
            text,
            place,
            xytext=AROUND[best],
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=LABEL_SIZE,
            color=colour_of(index + 1),
        )
    return written


def _bars(axes: Axes, point: dict[str, Any], percent: int) -> list[Box]:
    """The marker and both bars of a point, in pixels."""
    x, y = point["latency_ratio"], point["accuracy"] * percent
    low, high = point["latency_ratio_ci95"]
    worst, best = (bound * percent for bound in point["accuracy_ci95"])
    ends = axes.transData.transform([(x, y), (low, y), (high, y), (x, worst), (x, best)])
    (cx, cy), (left, _), (right, _), (_, bottom), (_, top) = ends
    return [(cx - 3, cy - 3, 6, 6), (left, cy - 1, right - left, 2), (cx - 1, bottom, 2, top - bottom)]


def overlap(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    tall = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, tall)
