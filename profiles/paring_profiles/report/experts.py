"""Tokens of each expert, layer by layer, of candidates whose layers are mixtures."""

from __future__ import annotations

import numpy as np

from paring_profiles.report import quantities
from paring_profiles.report.drawing import (
    INK,
    LEGEND_ROW_IN,
    Plot,
    add_legend,
    colour_of,
    new_axes,
    shown,
)
from paring_profiles.report.rows import ABSENT, Table
from paring_profiles.result import Candidate, ExpertShare, Profile

HEADER = ("Layer", "Expert", "Tokens", "Share, %", "Preferred, %", "Alpha", "Latency")
MOST_BARS = 48  # layers in one picture; the table has them all


def share_tables(profile: Profile) -> list[tuple[str, Table]]:
    """For each candidate with mixtures: a title, and a row for each layer and expert."""
    return [
        (f"Tokens of each expert: {candidate.name}", _table(candidate.expert_shares))
        for candidate in profile.candidates
        if candidate.expert_shares
    ]


def _table(shares: list[ExpertShare]) -> Table:
    rows = [
        (
            one.layer,
            one.experts[index],
            f"{tokens:,}",
            quantities.fixed(100 * tokens / max(1, sum(one.tokens)), 1),
            ABSENT if one.preferred is None else quantities.fixed(100 * one.preferred[index], 1),
            quantities.fixed(one.alpha[index], 3),
            one.costs,
        )
        for one in shares
        for index, tokens in enumerate(one.tokens)
    ]
    return Table(HEADER, tuple(rows))


def bars(candidate: Candidate, name: str) -> Plot | None:
    """One stacked bar a layer, the experts' shares of its tokens; a tick where the routers' own would end."""
    shares = candidate.expert_shares[:MOST_BARS]
    if not shares:
        return None
    kinds = list(dict.fromkeys(kind for one in shares for kind in one.experts))
    height = 0.9 + 0.22 * len(shares) + LEGEND_ROW_IN * len(kinds)
    with new_axes(name, height) as (axes, finish):
        ends = np.zeros(len(shares))
        for index, kind in enumerate(kinds):
            widths = np.array([_percent(one, kind) for one in shares])
            axes.barh(range(len(shares)), widths, 0.7, ends, color=colour_of(index), label=shown(kind))
            ends += widths
        for place, one in enumerate(shares):
            for end in np.cumsum([100 * part for part in one.preferred or ()])[:-1]:
                axes.plot([end, end], [place - 0.42, place + 0.42], color=INK, linewidth=1.4)
        axes.set_yticks(range(len(shares)), [shown(one.layer) for one in shares], color=INK)
        axes.set_ylim(len(shares) - 0.4, -0.6)
        axes.set_xlim(0, 100)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("tokens, %")
        add_legend(axes)
        title = f"Tokens of each expert: {candidate.name}"
        known = any(one.preferred for one in shares)
        return Plot(
            finish(title), title, "Ticks: where the bar would part by the largest gate." if known else ""
        )


def _percent(share: ExpertShare, kind: str) -> float:
    if kind not in share.experts:
        return 0.0
    return 100 * share.tokens[share.experts.index(kind)] / max(1, sum(share.tokens))
