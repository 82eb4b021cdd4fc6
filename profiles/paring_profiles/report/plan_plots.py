"""The figures of a plan: the law beside its points, and what each budget buys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paring_profiles.planner import Answer, Budget, Fit, Table
from paring_profiles.planner.choose import SCALES, options
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
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICKS = (1, 4, 16, 64, 256)


def sizes(parameters: float) -> str:
    """A model's size in words."""
    return f"{parameters / 1e9:.3g}B" if parameters >= 1e9 else f"{parameters / 1e6:.3g}M"


def _count_tokens(axes: Axes) -> None:
    """A logarithmic axis, labelled at powers of 4: matplotlib's own labels are mathematics, not text."""
    axes.set_xscale("log")
    axes.set_xticks(TICKS, [str(tick) for tick in TICKS])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("visual tokens")


def law(fit: Fit, table: Table) -> Plot:
    """Measured scores, and the law through them with its interval."""
    title = "Score by visual tokens: measured, and the fitted law"
    known = sorted({row.parameters for row in table.rows})
    with new_axes("law", 2.8 + LEGEND_ROW_IN * len(known)) as (axes, finish):
        tokens = np.geomspace(*fit.tokens, 60)
        for index, size in enumerate(known):
            color = colour_of(index)
            rows = [row for row in table.rows if row.parameters == size]
            axes.plot([r.tokens for r in rows], [r.score for r in rows], marker_of(index), color=color)
            drawn = np.array([draw.error(size, tokens) for draw in fit.draws])
            low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
            axes.fill_between(tokens, 1 - high, 1 - low, alpha=0.18, linewidth=0, color=color)
            axes.plot(tokens, 1 - fit.law.error(size, tokens), linewidth=1.5, label=sizes(size), color=color)
        _count_tokens(axes)
        axes.set_ylabel("score")
        add_legend(axes)
        return Plot(finish(title), title, "Points are measured; bands are the law's 95 % intervals.")


def budgets(fit: Fit, budget: Budget, answer: Answer) -> Plot:
    """Predicted error over the counts of tokens, at the budget asked for and around it."""
    title = "What a budget buys: error by visual tokens at equal cost"
    with new_axes("budgets", 2.9 + LEGEND_ROW_IN * len(SCALES)) as (axes, finish):
        for index, scale in enumerate(SCALES):
            own = Budget(budget.flops * scale, budget.text_tokens, None, budget.tokens)
            found = options(own)
            size, count = (np.array(column, np.float64) for column in zip(*found, strict=True))
            error = fit.law.error(size, count)
            asked = index == len(SCALES) // 2
            axes.plot(
                count,
                error,
                color=INK if asked else MUTED,
                linewidth=2 if asked else 1,
                linestyle=LINES[0 if asked else 1 + index % 3],
                label=f"{own.flops:.2g} FLOPs{', the budget' if asked else ''}",
            )
            best = int(np.argmin(error))
            axes.plot(count[best], error[best], marker_of(0), color=colour_of(1))
        axes.plot(answer.tokens, answer.error, marker_of(1), color=colour_of(2), markersize=8)
        _count_tokens(axes)
        axes.set_ylabel("predicted error")
        add_legend(axes)
        caption = (
            "Each curve spends the same on a prompt: few tokens for a large model, many for a small one."
            " Round points are the least of each curve, the square is the answer."
        )
        return Plot(finish(title), title, caption)
