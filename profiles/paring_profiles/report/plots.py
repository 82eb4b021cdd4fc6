"""The figures of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paring_profiles.report import answers, details
from paring_profiles.report.drawing import (
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
from paring_profiles.report.tables import latency_at
from paring_profiles.result import Case, Comparison, Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ONE = {"calls": "a call", "steps": "a step", "answers": "an answer"}
MAX_STEPS = 301  # of a distribution: finer would not show, and would weigh megabytes


def latencies(profile: Profile, case: Case) -> Plot | None:
    """The share of calls at or below each measured latency; None without samples."""
    found = [(i, c, latency_at(c, case)) for i, c in enumerate(profile.candidates)]
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
    batch_size, prompt_tokens, phase = case
    title, calls = f"Latencies at batch {batch_size}", "calls"
    if prompt_tokens is not None:
        title = f"{answers.NAMES[phase]}, {answers.title((batch_size, prompt_tokens)).lower()}"
        calls = "steps" if phase == "decode" else "answers"
    with new_axes(f"latency-{batch_size}-{prompt_tokens}-{phase}", 2.7 + LEGEND_ROW_IN * len(drawn)) as (
        axes,
        finish,
    ):
        for index, name, samples in drawn:
            share = np.linspace(0, 100, min(len(samples), MAX_STEPS))
            steps = np.quantile(samples, share / 100, method="inverted_cdf")
            look = {"color": colour_of(index), "linestyle": LINES[index % len(LINES)]}
            axes.step(steps, share, where="post", linewidth=1.8, label=shown(name), **look)
            axes.plot([np.median(samples)], [50], marker=marker_of(index), color=colour_of(index))
        margin = 0.03 * (right - left or right)
        axes.set_xlim(left - margin, right + margin)
        axes.set_ylim(0, 100)
        axes.set_xlabel(f"latency, ms {ONE[calls]}")
        axes.set_ylabel(f"{calls} at or below, %")
        add_legend(axes)
        caption = f"Points mark medians. {beyond:,} {calls} lie beyond the right edge."
        return Plot(finish(title), title, caption)


def realised(profile: Profile) -> Plot | None:
    """Pairs of bars: the measured speed-up with its interval, and the ideal one from MACs."""
    filtering = any(
        stage.tokens == "prompt" for c in profile.candidates for a in c.answered for stage in a.stages
    )
    phases = ("", "first_token" if filtering else "prefill")  # the filter's time belongs to what it saves
    rows = [c for c in profile.comparisons if c.mac_ratio is not None and c.phase in phases]
    if not rows:
        return None
    names = [candidate.name for candidate in profile.candidates]
    with new_axes("realised", 0.9 + 0.72 * len(rows)) as (axes, finish):
        for place, comparison in enumerate(rows):
            colour = colour_of(names.index(comparison.candidate))
            _realised_pair(axes, place, comparison, colour)
        axes.axvline(1, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_ylim(len(rows) - 0.35, -0.6)
        axes.set_yticks([])
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("times as fast: solid realised, hatched ideal")
        title = "Realised and ideal speed-up" + {
            "first_token": " to the first token",
            "prefill": " of prefill",
        }.get(rows[0].phase, "")
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
    label = f"{shown(comparison.candidate)}, batch {comparison.batch_size}"
    if comparison.prompt_tokens is not None:
        label += f", {comparison.prompt_tokens:,} tokens"
    axes.text(0, place - 0.18, label + share, va="bottom", ha="left", color=INK)


def tokens(profile: Profile) -> Plot | None:
    """How many tokens each layer works on."""
    counts_of = [candidate.tokens_per_layer for candidate in profile.candidates]
    title, label, first = "Tokens per layer", "tokens", 1
    if places := answers.places(profile):
        longest = max(places, key=lambda place: place[1])
        found = [answers.answered_at(candidate, longest) for candidate in profile.candidates]
        counts_of = [own.cache_rows if own else None for own in found]
        title = f"Key-value cache after {longest[1]:,} prompt tokens"
        label, first = "tokens held", 0  # language models' layers are counted from 0
    known = sum(counts is not None for counts in counts_of)
    if known == 0:
        return None
    with new_axes("tokens", 2.5 + LEGEND_ROW_IN * known) as (axes, finish):
        for index, (candidate, counts) in enumerate(zip(profile.candidates, counts_of, strict=True)):
            if not counts:
                continue
            layers = np.arange(first, len(counts) + first)
            look = {"color": colour_of(index), "linestyle": LINES[index % len(LINES)]}
            axes.step(layers, counts, where="mid", linewidth=1.8, label=shown(candidate.name), **look)
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("layer")
        axes.set_ylabel(label)
        add_legend(axes)
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
    with new_axes(f"operators-{batch_size}", height) as (axes, finish):
        for row, (index, name, times) in enumerate(drawn):
            places = np.arange(len(names)) - 0.4 + thick * (row + 0.5)
            axes.barh(
                places,
                [times.get(operator, 0.0) for operator in names],
                thick * 0.86,
                color=colour_of(index),
                label=shown(name),
            )
        axes.set_yticks(np.arange(len(names)), [shown(name) for name in names], color=INK)
        axes.set_ylim(len(names) - 0.45, -0.55)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("ms a call")
        add_legend(axes)
        title = f"Time by operator at batch {batch_size}"
        return Plot(finish(title), title)
