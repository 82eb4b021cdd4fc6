"""The figures of a load test's report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paring_profiles.load.hdr import Histogram
from paring_profiles.load.result import LoadResult, LoadRun
from paring_profiles.load.scenarios import find
from paring_profiles.report import quantities
from paring_profiles.report.drawing import (
    COLOURS,
    INK,
    LEGEND_ROW_IN,
    LINES,
    MUTED,
    Plot,
    add_legend,
    colour_of,
    marker_of,
    new_axes,
    shown,
)
from paring_profiles.report.load.tables import PARTS, medians

MOST_STEPS = 400  # of a curve
MOST_DOTS = 400  # of a run against time; the longest are among them
_HATCHES = ("", "////", "....")


def of_scenario(result: LoadResult, scenario: str) -> list[Plot]:
    """Of all runs in one scenario: latencies' tails, latency against time, memory against time."""
    runs = [(index, run) for index, run in enumerate(_runs(result, scenario))]
    timed = [(index, run) for index, run in runs if run.latency is not None]
    plots = [_tails(timed, scenario), _against_time(timed, scenario)] if timed else []
    searched = [(index, run) for index, run in runs if run.search is not None]
    return [*plots, *([_rates(searched)] if searched else []), _memory(runs, scenario)]


def _runs(result: LoadResult, scenario: str) -> list[LoadRun]:
    return [run for run in result.runs if run.scenario == scenario]


def _tails(runs: Sequence[tuple[int, LoadRun]], scenario: str) -> Plot:
    """The share of queries that took longer, downwards in powers of ten, as HdrHistogram's plots have it."""
    title = f"{find(scenario).TITLE}: latency by percentile"
    with new_axes(f"tails-{scenario}", 2.9 + LEGEND_ROW_IN * len(runs)) as (axes, finish):
        least = 1.0
        for index, run in runs:
            if run.latency is None:
                continue
            values, shares = Histogram.read(run.latency.histogram).steps()
            over = np.maximum(1 - shares, 0.5 / run.latency.queries)
            least = min(least, 1 / run.latency.queries)
            kept = np.unique(np.geomspace(1, len(values), MOST_STEPS).astype(int)) - 1
            kept = len(values) - 1 - kept[::-1]  # finer towards the longest
            look = _look(index, run)
            axes.step(values[kept], over[kept], where="post", **look)
            if run.verdict is not None and index == runs[0][0]:
                axes.axvline(run.verdict.bound_ms, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_yscale("log")
        axes.set_ylim(1.0, least / 2)
        marks = [mark for mark in (0.5, 0.1, 0.01, 0.001, 0.0001) if mark > least / 2]
        axes.set_yticks(marks, [f"{100 * (1 - mark):g} %" for mark in marks])
        axes.minorticks_off()
        axes.set_xlabel("latency, ms a query")
        axes.set_ylabel("queries at or below")
        add_legend(axes)
        dashed = " The dashed line is the bound." if any(run.verdict for _, run in runs) else ""
        return Plot(finish(title), title, f"Each step up the axis is ten times as rare.{dashed}")


def _against_time(runs: Sequence[tuple[int, LoadRun]], scenario: str) -> Plot:
    title = f"{find(scenario).TITLE}: latency against time"
    with new_axes(f"time-{scenario}", 2.6 + LEGEND_ROW_IN * len(runs)) as (axes, finish):
        for index, run in runs:
            points = run.latency.points if run.latency else []
            at_s = np.array([point.at_s for point in points])
            latency = np.array([point.latency_ms for point in points])
            if len(points) > MOST_DOTS:
                even = np.linspace(0, len(points) - 1, MOST_DOTS - 50).astype(int)
                kept = np.union1d(even, np.argsort(latency)[-50:])
                at_s, latency = at_s[kept], latency[kept]
            look: dict[str, Any] = {
                "marker": marker_of(index),
                "color": colour_of(index),
                "linestyle": "none",
            }
            axes.plot(at_s, latency, markersize=2.5, alpha=0.8, label=shown(run.artifact), **look)
            if run.verdict is not None and index == runs[0][0]:
                axes.axhline(run.verdict.bound_ms, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("due, s after the run's begin")
        axes.set_ylabel("latency, ms")
        add_legend(axes)
        return Plot(finish(title), title, "A dot a query; of long runs evenly spaced ones and the slowest.")


def _rates(runs: Sequence[tuple[int, LoadRun]]) -> Plot:
    """The 99th percentile by rate, of every run of a search."""
    from matplotlib.ticker import LogLocator

    title = "99th percentile by rate"
    with new_axes("rates", 2.6 + 2 * LEGEND_ROW_IN * len(runs)) as (axes, finish):
        for index, run in runs:
            probes = sorted(run.search.probes if run.search else [], key=lambda probe: probe.qps)
            look: dict[str, Any] = {
                "marker": marker_of(index),
                "color": colour_of(index),
                "linestyle": "none",
            }
            for passed, face in ((True, colour_of(index)), (False, "none")):
                own = [probe for probe in probes if probe.passed == passed]
                label = f"{shown(run.artifact)}, bound {'kept' if passed else 'not kept'}"
                at, p99 = [probe.qps for probe in own], [probe.p99_ms for probe in own]
                axes.plot(at, p99, markersize=5, markerfacecolor=face, label=label, **look)
            if run.verdict is not None and index == runs[0][0]:
                axes.axhline(run.verdict.bound_ms, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_xlim(left=0)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(lambda value, _place: f"{value:g}")
        axes.minorticks_off()
        axes.set_xlabel("queries a second")
        axes.set_ylabel("99th percentile, ms")
        add_legend(axes)
        note = (
            "Runs that ended early, as too many queries were over, had less time to queue. Dashed: the bound."
        )
        return Plot(finish(title), title, note)


def _memory(runs: Sequence[tuple[int, LoadRun]], scenario: str) -> Plot:
    title = f"{find(scenario).TITLE}: memory against time"
    with new_axes(f"memory-{scenario}", 2.4 + LEGEND_ROW_IN * len(runs)) as (axes, finish):
        for index, run in runs:
            points = run.memory.points[:: max(1, len(run.memory.points) // MOST_STEPS)]
            at_s = [point.at_s for point in points]
            axes.plot(at_s, [point.rss_bytes / 1e6 for point in points], **_look(index, run))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("s after the run's begin")
        axes.set_ylabel("resident, MB")
        add_legend(axes)
        return Plot(finish(title), title, "Of the whole process, Python and earlier runs' pools included.")


def _look(index: int, run: LoadRun) -> dict[str, Any]:
    """Of the line of a run."""
    line = LINES[index % len(LINES)]
    return {"color": colour_of(index), "linestyle": line, "linewidth": 1.8, "label": shown(run.artifact)}


def starts(result: LoadResult) -> Plot | None:
    """Bars of cold and warm starts, by part; None where none were made."""
    rows = [
        (f"{artifact.name}, {kind}", medians(made))
        for artifact in result.artifacts
        if artifact.starts is not None
        for kind, made in (("cold", artifact.starts.cold), ("warm", artifact.starts.warm))
        if made
    ]
    if not rows:
        return None
    title = "From a process's start to its first answer"
    with new_axes("starts", 1.4 + 0.55 * len(rows)) as (axes, finish):
        for place, (label, parts) in enumerate(rows):
            left = 0.0
            for number, (part, word) in enumerate(zip(parts, PARTS.values(), strict=True)):
                hatched = {"facecolor": "none", "edgecolor": COLOURS[1], "hatch": _HATCHES[number]}
                look: dict[str, Any] = hatched if number else {"color": COLOURS[1]}
                axes.barh(place, part, 0.4, left=left, label=word if place == 0 else None, **look)
                left += part
            text = f"{shown(label)}: {quantities.plain(left)} ms"
            axes.text(0, place - 0.24, text, va="bottom", ha="left", color=INK)
        axes.set_ylim(len(rows) - 0.6, -0.7)
        axes.set_yticks([])
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("ms, medians")
        add_legend(axes)
        return Plot(finish(title), title)
